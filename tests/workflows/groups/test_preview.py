"""Looking before acting: previews, tokens, and what needs them."""

from __future__ import annotations

from typing import Any

import pytest

from reactor import SenderError
from reactor.testing import Rig
from tests.workflows.checks import picture
from tests.workflows.conftest import MakeRig
from tests.workflows.groups.conftest import finish
from tests.workflows.samples import Counter, Nap
from workflows.groups.preview import WITHOUT_TOKEN_MAX

ALICE, BOB = "a" * 32, "b" * 32
RAID = {"correlation_id": "raid"}
MANY = WITHOUT_TOKEN_MAX + 1


def raid(rig: Rig, count: int, sender: str = ALICE) -> list[int]:
    """A group of counters."""
    items = [{"type": "counter", "correlation_id": "raid", "entity_id": i} for i in range(count)]
    ids: list[int] = rig.call("workflow_start_batch", items, sender=sender)
    return ids


def cancel(rig: Rig, token: str | None, filter: Any = RAID, sender: str = ALICE, **more: Any) -> Any:
    return rig.call("workflow_group", "cancel", filter, token, more.get("request_id"), "over", None, None, "problems",
                    more.get("force", False), sender=sender)  # fmt: skip


def test_b36_a_preview_changes_nothing_and_shows_everything(make_rig: MakeRig) -> None:
    """B36, F9, REQ-14: a dry run changes no rows; count, samples, statuses, and whether a token is needed."""
    rig = make_rig(Counter)
    ids = raid(rig, 30)
    rig.call("workflow_cancel", ids[0], "x")
    before, seq = picture(rig), rig.engine.seq
    shown = rig.call("workflow_group_preview", "cancel", {**RAID, "status": ["Suspended", "Cancelled"]})
    assert (shown["count"], shown["statuses"]) == (30, {"Cancelled": 1, "Suspended": 29})
    assert [sample["id"] for sample in shown["samples"]] == ids[:20]
    assert shown["samples"][0].items() >= {"type": "counter", "status": "Cancelled", "step": "counting"}.items()
    assert not shown["needs_token"]
    assert rig.call("workflow_group_preview", "delete", RAID)["needs_token"]
    assert (picture(rig), rig.engine.seq) == (before, seq)


def test_f9_a_large_destructive_command_needs_a_token(make_rig: MakeRig) -> None:
    """F9: refused without a token, for small groups not asked for; the owner may force it, nobody else."""
    rig = make_rig(Counter)
    raid(rig, MANY)
    before = picture(rig)
    with pytest.raises(SenderError) as caught:
        cancel(rig, None)
    assert (caught.value.code, caught.value.details["count"]) == ("preview_required", MANY)
    with pytest.raises(SenderError) as caught:
        cancel(rig, None, force=True)
    assert caught.value.code == "forbidden"
    assert picture(rig) == before
    assert cancel(rig, None, {**RAID, "entity_id": [1, 2]})["applied"] == 2
    token = rig.call("workflow_group_preview", "cancel", RAID, sender=ALICE)["token"]
    assert cancel(rig, token)["applied"] == MANY - 2
    raid(rig, MANY)
    assert cancel(rig, None, force=True, sender="0" * 32)["applied"] == MANY


@pytest.mark.parametrize("change", ["signal", "start", "cancel", "filter", "verb", "nonsense"])
def test_b36_a_stale_token_changes_nothing(make_rig: MakeRig, change: str) -> None:
    """B36: anything that matches has changed since, or the token is for something else: refused, 409, nothing done."""
    rig = make_rig(Counter)
    ids = raid(rig, 5)
    token = rig.call("workflow_group_preview", "signal" if change == "verb" else "cancel", RAID)["token"]
    wanted: dict[str, Any] = dict(RAID)
    if change == "signal":
        rig.call("workflow_signal", ids[2], "add", 1)
    elif change == "start":
        raid(rig, 1)
    elif change == "cancel":
        rig.call("workflow_cancel", ids[2], "x")
    elif change == "filter":
        wanted["type"] = "counter"
    elif change == "nonsense":
        token = "nonsense"
    before = picture(rig)
    with pytest.raises(SenderError) as caught:
        cancel(rig, token, wanted)
    assert (caught.value.code, caught.value.http_status) == ("stale_preview", 409)
    assert ("changed" in caught.value.message) == (change in ("signal", "start", "cancel"))
    assert picture(rig) == before
    assert rig.rows("command_log")[-1].code == "stale_preview"
    fresh = rig.call("workflow_group_preview", "cancel", wanted)["token"]
    assert cancel(rig, fresh, wanted)["refused"] == 0


def test_a_token_outlives_a_restart_and_what_it_is_not_about(make_rig: MakeRig) -> None:
    """F9: it depends on the rows alone, and on no others."""
    rig = make_rig(Counter, Nap)
    raid(rig, 3)
    token = rig.call("workflow_group_preview", "cancel", RAID)["token"]
    rig.start("nap", payload={"delay_us": 5})
    rig.crash()
    rig.advance(10)
    rig.reopen()
    assert rig.call("workflow_group_preview", "cancel", RAID)["token"] == token
    assert cancel(rig, token)["applied"] == 3


def test_b36_only_what_has_ended_is_deleted(make_rig: MakeRig) -> None:
    """B36: live rows are not even chosen; named, they are refused; a token always; what belongs to them goes too."""
    rig = make_rig(Counter, Nap, audit=True)
    ids = raid(rig, 4)
    for workflow_id in ids[:3]:
        rig.call("workflow_cancel", workflow_id, "x")
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_group", "delete", RAID, None, None, "tidy", None, None, "problems", True)
    assert caught.value.code == "preview_required", "not even the owner deletes unseen"
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_group_preview", "delete", RAID, sender=ALICE)
    assert caught.value.code == "forbidden"
    token = rig.call("workflow_group_preview", "delete", RAID)["token"]
    assert rig.call("workflow_group", "delete", RAID, token, None, "tidy")["applied"] == 3
    assert [row.id for row in rig.rows("workflow")] == [ids[3]]
    assert {event.workflow_id for event in rig.rows("workflow_event")} == {ids[3]}
    named = {"ids": [ids[3]]}
    token = rig.call("workflow_group_preview", "delete", named)["token"]
    answer = rig.call("workflow_group", "delete", named, token, None, "tidy")
    assert [(r["outcome"], r["code"], r["status"]) for r in answer["results"]] == [
        ("refused", "wrong_status", "Suspended")
    ]
    assert rig.row("workflow", ids[3]) is not None


def test_a_verb_says_why_and_exists(make_rig: MakeRig) -> None:
    """REQ-14, D73: destructive verbs are given a reason; it is kept with each workflow."""
    rig = make_rig(Counter)
    (workflow_id,) = raid(rig, 1)
    for args, told in (
        (("cancel", RAID), "say why"),
        (("cancel", RAID, None, None, "  "), "say why"),
        (("cancel", RAID, None, None, "x" * 3_000), "2000 characters"),
        (("explode", RAID), "there are signal, cancel"),
        (("signal", RAID), "name of the signal"),
        (("cancel", RAID, None, "", "why"), "request_id"),
        (("cancel", RAID, None, "x" * 200, "why"), "request_id"),
    ):
        with pytest.raises(SenderError, match=told) as caught:
            rig.call("workflow_group", *args)
        assert caught.value.code == "bad_arguments"
    rig.call("workflow_group", "cancel", RAID, None, None, "the raid is over")
    assert rig.row("workflow", workflow_id).error_message == "the raid is over"


def test_a_group_command_is_one_row_of_the_log(make_rig: MakeRig) -> None:
    """D73, F10: accepted or refused, with caller, reason and how many; not a row for each target."""
    rig = make_rig(Counter)
    ids = raid(rig, 4)
    cancel(rig, None, {"ids": ids[:3]})
    with pytest.raises(SenderError):
        cancel(rig, "nonsense")
    with pytest.raises(SenderError):
        rig.call("workflow_group", "terminate", RAID, None, None, "mine now", sender=BOB)
    rows = rig.rows("command_log")
    assert [(row.caller, row.verb, row.reason, row.outcome, row.code) for row in rows] == [
        (ALICE, "group_cancel", "over", "accepted", None),
        (ALICE, "group_cancel", "over", "refused", "stale_preview"),
        (BOB, "group_terminate", "mine now", "refused", "forbidden"),
    ]
    assert rows[0].detail == '3 workflows of {"ids":[1,2,3]}'


def test_a_token_is_checked_also_where_none_is_needed(make_rig: MakeRig) -> None:
    """F9: whoever sends one means what it showed, in pieces too."""
    rig = make_rig(Counter)
    ids = raid(rig, 2)
    token = rig.call("workflow_group_preview", "cancel", RAID)["token"]
    rig.call("workflow_signal", ids[0], "add", 1)
    with pytest.raises(SenderError) as caught:
        cancel(rig, token, force=True, sender="0" * 32)
    assert caught.value.code == "stale_preview"
    finish(rig)
