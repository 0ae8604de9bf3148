"""``ctx.workflows``: workflows from game code."""

from __future__ import annotations

from typing import Any

import pytest

from reactor import SenderError
from tests.workflows.conftest import MakeRig
from tests.workflows.samples import Add, Counter, Faulty, Nap
from workflows import Status


def test_game_code_starts_signals_and_cancels_in_its_own_call(make_rig: MakeRig) -> None:
    """A68: one commit with the game's own changes; payloads as fields, value or struct."""
    rig = make_rig(Counter, Nap)
    seq = rig.engine.seq

    def play(ctx: Any) -> list[Any]:
        nap = ctx.workflows.start("nap", entity_id=1, delay_us=5_000)
        one = ctx.workflows.start("counter", entity_id=1, correlation_id="raid")
        ctx.workflows.signal(one, "add", amount=1)
        ctx.workflows.signal(one, "add", {"amount": 2})
        ctx.workflows.signal(one, "add", Add(amount=4))
        return [nap, one, ctx.workflows.cancel(nap, "changed its mind")]

    nap, one, status = rig.run(play)
    assert status == "Cancelled"
    assert rig.engine.seq == seq + 1
    assert rig.row("workflow", one).state == '{"total":7,"log":[]}'
    assert rig.row("workflow", nap).status is Status.CANCELLED


def test_workflows_are_found_by_entity_correlation_and_type(make_rig: MakeRig) -> None:
    """A49, A50: exactly the group, live ones only unless told."""
    rig = make_rig(Counter, Nap)

    def play(ctx: Any) -> list[int]:
        ids = [ctx.workflows.start("counter", entity_id=i % 2, correlation_id=f"raid{i % 3}") for i in range(6)]
        ctx.workflows.signal(ids[0], "finish")
        return ids

    ids = rig.run(play)

    def find(**wanted: Any) -> list[int]:
        return [ids.index(i) for i in rig.run(lambda ctx: [row.id for row in ctx.workflows.find(**wanted)])]

    assert find(entity_id=0) == [2, 4]
    assert find(entity_id=0, live=False) == [0, 2, 4]
    assert find(correlation_id="raid1") == [1, 4]
    assert find(workflow_type="counter", entity_id=1, correlation_id="raid2") == [5]
    assert find(workflow_type="nap") == []
    assert find() == [1, 2, 3, 4, 5]
    assert rig.run(lambda ctx: ctx.workflows.get(ids[0]).status) == "Completed"
    assert rig.run(lambda ctx: ctx.workflows.get(99)) is None


def test_a_refused_start_can_be_caught_and_leaves_nothing(make_rig: MakeRig) -> None:
    """A47: the savepoint undoes the handler alone; the game's call goes on."""
    rig = make_rig(Counter, Faulty)

    def play(ctx: Any) -> int:
        kept: int = ctx.workflows.start("counter")
        with pytest.raises(SenderError):
            ctx.workflows.start("faulty", where="start", how="sender")
        return kept

    kept = rig.run(play)
    assert [row.id for row in rig.rows("workflow")] == [kept]
    assert rig.rows("workflow_timer") == []


def test_a_call_that_fails_later_takes_its_workflows_with_it(make_rig: MakeRig) -> None:
    """A83: no row, no timer in memory, nothing fires."""
    rig = make_rig(Nap)

    def play(ctx: Any) -> None:
        ctx.workflows.start("nap", delay_us=1_000)
        raise SenderError("sender_error", "changed its mind")

    with pytest.raises(SenderError):
        rig.run(play)
    assert rig.rows("workflow") == rig.rows("workflow_timer") == []
    rig.advance(10_000)
    assert rig.engine.counters.fired == 0
