"""Signals to an area, and groups that are started together."""

from __future__ import annotations

from typing import Any

import pytest

from reactor import SenderError
from tests.workflows.conftest import MakeRig
from tests.workflows.groups.conftest import MakeGroups, finish
from tests.workflows.samples import Counter, Nap
from workflows.reducers import BATCH_STARTS_MAX

ALICE = "a" * 32


def test_an_area_signal_answers_for_every_target(make_rig: MakeRig) -> None:
    """REQ-13: those of the entities alone, of one type if asked, a result each."""
    rig = make_rig(Counter, Nap)
    hit = [rig.start("counter", entity_id=i) for i in (1, 2)]
    nap = rig.start("nap", entity_id=2, payload={"delay_us": 5_000_000})
    rig.start("counter", entity_id=3)
    answer = rig.call("workflow_signal_area", "add", 1, None, [1, 2, 99], sender=ALICE)
    assert [(r["id"], r["outcome"], r.get("code")) for r in answer["results"]] == [
        (hit[0], "applied", None),
        (hit[1], "applied", None),
        (nap, "refused", "unknown_signal"),
    ]
    answer = rig.call("workflow_signal_area", "add", 1, None, [2], "counter", "once")
    assert [r["id"] for r in answer["results"]] == [hit[1]]
    assert rig.call("workflow_signal_area", "add", 1, None, [2], "counter", "once") == answer
    assert rig.call("workflow_signal_area", "add", 1, None, [])["total"] == 0
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_signal_area", "add", 1)
    assert caught.value.code == "bad_arguments"


def test_only_its_zone_hears_an_area_signal(make_rig: MakeRig) -> None:
    """A67, REQ-13: a thousand listeners in four zones; the quarter in that zone hears it, ended ones do not."""
    rig = make_rig(Counter)
    ids = rig.call("workflow_start_batch", [{"type": "counter"}] * 1_000)
    for zone in range(4):
        labels = {"attributes": {"zone": zone}}
        rig.call("workflow_group", "tag", {"ids": ids[zone::4]}, None, None, "", None, labels)
    assert rig.rows("workflow_group_operation") == []
    rig.call("workflow_signal", ids[1], "finish")
    answer = rig.call("workflow_signal_area", "add", 1, 1, sender=ALICE)
    assert [r["id"] for r in answer["results"]] == ids[5::4]
    heard = [row.id for row in rig.rows("workflow") if row.state.startswith('{"total":1')]
    assert heard == ids[5::4]
    narrowed = rig.call("workflow_signal_area", "add", 1, 1, [7], sender=ALICE)
    assert narrowed["total"] == 0, "nobody of entity 7 is there"


def test_a_large_area_keeps_every_result(make_groups: MakeGroups) -> None:
    """REQ-13: in pieces, and still a result per target."""
    rig = make_groups(Counter)
    ids = [rig.start("counter", entity_id=5) for _ in range(8)]
    answer = rig.call("workflow_signal_area", "add", 1, None, [5])
    assert answer["status"] == "Running"
    finish(rig)
    results = rig.call("workflow_group_results", answer["operation"])["results"]
    assert [(r["id"], r["outcome"]) for r in results] == [(i, "applied") for i in ids]


def test_a_batch_has_a_cap(make_rig: MakeRig) -> None:
    """A51, REQ-19: one more than may be is refused before anything is started."""
    rig = make_rig(Counter)
    seq = rig.engine.seq
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_start_batch", [{"type": "counter"}] * (BATCH_STARTS_MAX + 1))
    assert caught.value.code == "limit_exceeded"
    assert rig.engine.seq == seq


@pytest.mark.parametrize("at", [0, 1_500, 1_999])
def test_a_large_batch_is_whole_or_nothing(make_rig: MakeRig, at: int) -> None:
    """A51: one bad item anywhere, and nothing is there; without it, one commit and one frame; a crash keeps all."""
    rig = make_rig(Nap)
    watch = rig.subscribe("SELECT * FROM workflow")
    items: list[dict[str, Any]] = [{"type": "nap", "payload": {"delay_us": 9_000_000}} for _ in range(2_000)]
    bad = [*items]
    bad[at] = {"type": "nap", "payload": {"delay_us": "long"}}
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_start_batch", bad)
    assert caught.value.details["index"] == at
    assert rig.rows("workflow") == rig.rows("workflow_timer") == []
    ids = rig.call("workflow_start_batch", items)
    assert len(watch.frames) == 1
    assert sorted(watch.rows) == ids
    rig.crash()
    rig.reopen()
    assert [row.id for row in rig.rows("workflow")] == ids
