"""The operator's verbs to groups."""

from __future__ import annotations

from typing import Any

import pytest

from reactor import SenderError, seconds
from reactor.testing import Rig
from tests.workflows.groups.conftest import MakeGroups, finish
from tests.workflows.samples import Counter, Nap, NapState
from workflows import Timer, Workflow
from workflows.groups.verbs import VERBS
from workflows.policy import ErrorPolicy, Then

ALICE = "a" * 32
RAID = {"correlation_id": "raid"}


def raid(rig: Rig, count: int) -> list[int]:
    """A group that sleeps for a second."""
    payload = {"delay_us": seconds(1)}
    items = [{"type": "nap", "correlation_id": "raid", "payload": payload} for _ in range(count)]
    ids: list[int] = rig.call("workflow_start_batch", items)
    return ids


def tell(rig: Rig, verb: str, filter: Any = RAID, reason: str = "a test", sender: str = "0" * 32) -> Any:
    answer = rig.call("workflow_group", verb, filter, None, None, reason, sender=sender)
    finish(rig)
    return answer if answer["operation"] is None else rig.call("workflow_group_operation", answer["operation"])


@pytest.mark.parametrize("at_once", [100, 2])
def test_a_group_is_paused_and_goes_on(make_groups: MakeGroups, at_once: int) -> None:
    """REQ-13, B50: suspend takes those that wait, resume those that are paused; at once or in pieces, with a crash."""
    rig = make_groups(Nap, Counter, at_once=at_once)
    ids = raid(rig, 5)
    bystander = rig.start("nap", payload={"delay_us": seconds(1)})
    assert tell(rig, "suspend")["applied"] == 5
    assert tell(rig, "suspend")["total"] == 0, "none of them waits"
    rig.crash()
    rig.reopen()
    rig.advance(seconds(2))
    assert {rig.row("workflow", i).status for i in ids} == {"Paused"}
    assert rig.row("workflow", bystander).status == "Completed"
    assert tell(rig, "resume", reason="")["applied"] == 5
    rig.advance(seconds(2))
    assert {rig.row("workflow", i).status for i in ids} == {"Completed"}


def test_a_verb_in_the_wrong_status_is_told(make_groups: MakeGroups) -> None:
    """D72: named workflows that it does nothing to refuse it, by code, and stay as they are."""
    rig = make_groups(Nap, at_once=100)
    (one, two) = raid(rig, 2)
    tell(rig, "suspend", {"ids": [one]})
    answer = tell(rig, "suspend", {"ids": [one, two]})
    assert [(r["id"], r["outcome"], r.get("code"), r["status"]) for r in answer["results"]] == [
        (one, "refused", "wrong_status", "Paused"),
        (two, "applied", None, "Paused"),
    ]
    for verb in ("retry", "skip"):
        assert {r["code"] for r in tell(rig, verb, {"ids": [one]})["results"]} == {"wrong_status"}
    assert tell(rig, "terminate")["applied"] == 2
    assert {rig.row("workflow", i).status for i in (one, two)} == {"Terminated"}


def test_tags_and_attributes_are_given_to_a_group(make_groups: MakeGroups) -> None:
    """B37, REQ-13: added, taken away and set; also for what has ended; then they choose groups themselves."""
    rig = make_groups(Nap, Counter, at_once=2)
    ids = raid(rig, 5)
    rig.call("workflow_cancel", ids[0], "x")
    labels = {"add": ["night", "shift"], "attributes": {"zone": "north", "level": 3}}
    rig.call("workflow_group", "tag", RAID, None, None, "", None, labels)
    finish(rig)
    assert rig.call("workflow_group_preview", "tag", {"tag": ["night", "shift"], "zone": "north"})["count"] == 5
    assert rig.call("workflow_group_preview", "cancel", {"attributes": {"level": 3}})["count"] == 4, "live ones"
    part = {"ids": ids[:2]}
    rig.call("workflow_group", "tag", part, None, None, "", None, {"remove": ["night"], "attributes": {"zone": None}})
    finish(rig)
    assert rig.call("workflow_group_preview", "tag", {"tag": "night"})["count"] == 3
    assert rig.call("workflow_group_preview", "tag", {"zone": "north"})["count"] == 3
    assert rig.call("workflow_group_preview", "tag", {"tag": "shift"})["count"] == 5


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (None, "nothing to add"),
        ({"add": []}, "nothing to add"),
        ({"add": "x"}, "Expected `array`"),
        ({"tags": ["x"]}, "unknown field `tags`"),
    ],
)
def test_wrong_labels_are_refused_at_once(make_groups: MakeGroups, labels: Any, told: str) -> None:
    """B33: before anything is done."""
    rig = make_groups(Nap)
    raid(rig, 2)
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_group", "tag", RAID, None, None, "", None, labels)
    assert caught.value.code == "bad_arguments"
    assert told in caught.value.message


def test_a_label_that_cannot_be_refuses_by_itself(make_groups: MakeGroups) -> None:
    """F7, B37: each target is changed wholly or not at all."""
    rig = make_groups(Nap, at_once=100)
    raid(rig, 1)
    answer = rig.call("workflow_group", "tag", RAID, None, None, "", None, {"add": ["good"], "attributes": {"$x": 1}})
    assert [(r["outcome"], r["code"]) for r in answer["results"]] == [("refused", "bad_arguments")]
    assert rig.rows("workflow_tag") == []


class Brittle(Nap):
    """Breaks when it wakes, until it is mended, and waits for somebody to decide."""

    name = "brittle"
    on_error = ErrorPolicy(attempts=1, then=Then.PARK)
    mended: list[bool] = []

    def on_timer(self, w: Workflow[NapState], timer: Timer) -> None:
        if not self.mended:
            raise KeyError("a defect")
        w.complete()


@pytest.mark.parametrize("at_once", [100, 2])
def test_faulted_workflows_are_driven_again_together(make_groups: MakeGroups, at_once: int) -> None:
    """REQ-14: retry takes those that are Faulted and no others; what fails again stays Faulted, and was applied."""
    rig = make_groups(Brittle, Nap, at_once=at_once)
    Brittle.mended.clear()
    ids = [rig.start("brittle", correlation_id="raid", payload={"delay_us": seconds(i + 1)}) for i in range(4)]
    rig.advance(seconds(3))
    assert tell(rig, "retry").items() >= {"total": 3, "applied": 3}.items()
    assert {rig.row("workflow", i).status for i in ids[:3]} == {"Faulted"}
    rig.crash()
    rig.reopen()
    Brittle.mended.append(True)
    assert tell(rig, "retry").items() >= {"total": 3, "applied": 3}.items()
    assert [rig.row("workflow", i).status for i in ids] == ["Completed"] * 3 + ["Suspended"]
    rig.advance(seconds(5))


@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"signal", "cancel", "tag"}))
def test_an_operators_verb_is_the_owners(make_groups: MakeGroups, verb: str) -> None:
    """D84, REQ-24: as the verb for one workflow; nothing is changed, nothing is shown."""
    rig = make_groups(Nap)
    raid(rig, 2)
    for call in (("workflow_group_preview", verb, RAID), ("workflow_group", verb, RAID, None, None, "why")):
        with pytest.raises(SenderError) as caught:
            rig.call(*call, sender=ALICE)
        assert caught.value.code == "forbidden"
    assert {row.status for row in rig.rows("workflow")} == {"Suspended"}
