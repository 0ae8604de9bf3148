"""Clean-up of what ended long ago, and firing timers by hand."""

from __future__ import annotations

from typing import Any

import pytest

from reactor import SenderError, days, milliseconds, seconds
from reactor.messages import Call, Caller
from reactor.testing import OWNER, Rig
from tests.workflows.conftest import MakeRig
from tests.workflows.samples import Counter, Nap, Ticker
from workflows import Handler, NoPayload, Status, Timer, Workflow
from workflows.life import is_live
from workflows.upkeep import TICK_MAX, ended_before


def test_cleanup_removes_what_is_ended_and_old_with_all_that_belongs_to_it(make_rig: MakeRig) -> None:
    """A105: only terminal and older; no orphan rows; the count; a reference of the last id goes too."""
    rig = make_rig(Nap, Counter, audit=True)
    alice = "a" * 32
    old = rig.call("workflow_start", "nap", None, None, {"delay_us": seconds(1)}, sender=alice)
    parked = rig.start("counter")
    cancelled = rig.start("counter")
    rig.call("workflow_cancel", cancelled, "x")
    rig.advance(days(8))
    young = rig.start("nap", payload={"delay_us": 0})
    rig.advance(0)
    assert rig.row("workflow", old).status is Status.COMPLETED
    assert rig.call("cleanup_old_workflows", 7) == {"removed": 2, "more": False}
    assert [row.id for row in rig.rows("workflow")] == [parked, young]
    assert {e.workflow_id for e in rig.rows("workflow_event")} == {parked, young}
    assert rig.call("workflow_last_id", sender=alice) is None
    assert rig.call("cleanup_old_workflows", 7) == {"removed": 0, "more": False}


def test_the_last_id_of_whoever_joined_goes_too(make_rig: MakeRig) -> None:
    """A105: a caller whose start came to another's workflow is not told its id when it is gone."""
    rig = make_rig(Counter)
    for caller in ("a" * 32, "b" * 32):
        rig.call("workflow_start_with", "counter", None, None, None, {"request_id": "once"}, sender=caller)
        assert rig.call("workflow_last_id", sender=caller) == 1
    rig.call("workflow_cancel", 1, "enough")
    rig.advance(1)
    rig.call("cleanup_old_workflows", 0)
    assert [rig.call("workflow_last_id", sender=caller) for caller in ("a" * 32, "b" * 32)] == [None, None]
    assert rig.rows("last_workflow_id") == []


def test_cleanup_takes_a_bounded_batch_oldest_first(make_rig: MakeRig) -> None:
    """A105, B76: a thousand a call, and word that there are more."""
    rig = make_rig(Counter)

    def fill(ctx: Any) -> None:
        for _ in range(1_500):
            ctx.workflows.signal(ctx.workflows.start("counter"), "finish")

    rig.run(fill)
    rig.advance(days(1) + 1)
    assert rig.call("cleanup_old_workflows", 1) == {"removed": 1_000, "more": True}
    assert rig.rows("workflow")[0].id == 1_001
    assert rig.call("cleanup_old_workflows", 1) == {"removed": 500, "more": False}


@pytest.mark.parametrize("given", [-1, "seven", 1e400])
def test_cleanup_wants_a_number_of_days(make_rig: MakeRig, given: Any) -> None:
    """Nothing is removed on a misunderstanding."""
    rig = make_rig(Nap)
    with pytest.raises(SenderError) as caught:
        rig.call("cleanup_old_workflows", given)
    assert caught.value.code == "bad_arguments"


def behind(rig: Rig, reducer: str, at: int) -> Any:
    """Call a reducer while timers are overdue, as behind a backlog: a turn that fires none by itself."""
    rig.clock.move_to(at)
    turn = rig.engine.turn([Call(reducer, b"[]", Caller(OWNER, None, True))], at, timers=False)
    rig.host._take(turn)
    return turn.effects[-1].body  # type: ignore[union-attr]


def test_a_tick_by_hand_fires_what_is_due_and_nothing_else(make_rig: MakeRig) -> None:
    """Trap of the reference: its tick fired timers that were not due, through a guard that refused it."""
    rig = make_rig(Nap, Ticker)
    due = rig.start("nap", payload={"delay_us": milliseconds(100)})
    later = rig.start("nap", payload={"delay_us": milliseconds(5_000)})
    ticking = rig.start("ticker", payload={"interval_us": milliseconds(40)})
    begin = rig.clock.now()
    assert behind(rig, "workflow_tick", begin + milliseconds(100)) == b"2"
    assert rig.row("workflow", due).status is Status.COMPLETED
    assert rig.row("workflow", due).result == f'{{"due_at":{begin + 100_000},"fired_at":{begin + 100_000}}}'
    assert rig.row("workflow", later).status is Status.SUSPENDED
    assert rig.row("workflow", ticking).state == f'{{"ticks":[[{begin + 40_000},{begin + 100_000},60000,0]]}}'
    rig.settle()
    ticks = rig.row("workflow", ticking).state
    assert (
        ticks
        == f'{{"ticks":[[{begin + 40_000},{begin + 100_000},60000,0],[{begin + 80_000},{begin + 100_000},20000,0]]}}'
    )
    assert rig.call("workflow_tick") == 0


def test_a_tick_by_hand_keeps_to_the_catch_up_policy(make_rig: MakeRig) -> None:
    """Coalesced and skipped occurrences are counted as the reactor counts them."""
    rig = make_rig(Ticker)
    begin = rig.clock.now()
    one = rig.start("ticker", payload={"interval_us": 1_000, "catch_up": "coalesce", "clock": "world"})
    two = rig.start("ticker", payload={"interval_us": 1_000, "catch_up": "skip"})
    behind(rig, "workflow_tick", begin + 3_500)
    assert rig.row("workflow", one).state == f'{{"ticks":[[{begin + 3_000},{begin + 3_500},500,2]]}}'
    assert rig.row("workflow", two).state == '{"ticks":[]}'
    assert [t.missed for t in rig.rows("workflow_timer")] == [0, 3]
    rig.advance(500)
    assert rig.row("workflow", two).state == f'{{"ticks":[[{begin + 4_000},{begin + 4_000},0,3]]}}'


def test_a_tick_by_hand_is_the_operators_doing(make_rig: MakeRig) -> None:
    """A89: who fired it is in the event; what it starts belongs to nobody, as when the reactor fires it."""
    rig = make_rig(Nap, Respawner, Counter, audit=True)
    nap = rig.start("nap", payload={"delay_us": 1_000})
    rig.start("respawner")
    behind(rig, "workflow_tick", rig.clock.now() + 1_000)
    told = [(e.actor, e.cause) for e in rig.rows("workflow_event") if e.workflow_id == nap]
    assert told == [(OWNER, "start"), (OWNER, "timer:wake")]
    assert [row.owner for row in rig.rows("workflow") if row.workflow_type == "counter"] == [None]


class Respawner(Handler[None]):
    """Starts another when its timer fires."""

    name = "respawner"
    clock = "wall"

    def on_start(self, w: Workflow[None], payload: NoPayload) -> None:
        w.timer("t", after_us=1_000)

    def on_timer(self, w: Workflow[None], timer: Timer) -> None:
        w.workflows.start("counter")
        w.complete()


def test_a_tick_by_hand_fires_the_first_of_a_backlog(make_rig: MakeRig) -> None:
    """B76: a bounded number, the earliest due of all clocks, and the rest when asked again."""
    rig = make_rig(Nap, Ticker)
    late = [rig.start("nap", payload={"delay_us": milliseconds(2) + i}) for i in range(TICK_MAX)]
    first = rig.start("ticker", payload={"interval_us": milliseconds(1), "clock": "world", "catch_up": "coalesce"})
    assert behind(rig, "workflow_tick", rig.clock.now() + milliseconds(10)) == str(TICK_MAX).encode()
    assert '"ticks":[[' in rig.row("workflow", first).state
    assert [rig.row("workflow", w).status for w in late[-2:]] == [Status.COMPLETED, Status.SUSPENDED]
    assert behind(rig, "workflow_tick", rig.clock.now()) == b"1"


def test_cleanup_looks_neither_at_live_workflows_nor_at_young_ends(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REQ-19, A105: a million parked ones and as many young ends cost nothing; it stops at the first it can leave."""
    rig = make_rig(Counter)

    def fill(ctx: Any) -> None:
        for i in range(60):
            workflow_id = ctx.workflows.start("counter")
            if i >= 40:
                ctx.workflows.signal(workflow_id, "finish" if i % 2 else "crash")

    rig.run(fill)
    rig.advance(days(1) + 1)
    rig.run(fill)
    looked: list[Any] = []

    class Counting(dict[int, Any]):
        def __getitem__(self, key: int) -> Any:
            looked.append(key)
            return super().__getitem__(key)

    def clean(ctx: Any) -> dict[str, Any]:
        workflow = ctx.db.workflow
        with monkeypatch.context() as patch:
            patch.setattr(workflow, "rows", Counting(workflow.rows))
            found = ended_before(ctx, ctx.now - days(1), 15)
            none = ended_before(ctx, ctx.now - days(7), 15)
        return {"found": len(found), "live": sum(is_live(row.status) for row in found), "none": len(none)}

    assert rig.run(clean) == {"found": 15, "live": 0, "none": 0}
    assert len(looked) == 15
    assert rig.call("cleanup_old_workflows", 1) == {"removed": 20, "more": False}
    assert len(rig.rows("workflow")) == 100


def test_cleanup_of_one_type(make_rig: MakeRig) -> None:
    """B76: each type has its own retention, whatever others there are."""
    rig = make_rig(Nap, Counter)
    rig.start("nap", payload={"delay_us": 0})
    counter = rig.start("counter")
    rig.call("workflow_signal", counter, "finish")
    rig.advance(days(2))
    assert rig.call("cleanup_old_workflows", 1, "counter") == {"removed": 1, "more": False}
    assert [row.workflow_type for row in rig.rows("workflow")] == ["nap"]
    assert rig.call("cleanup_old_workflows", 1, "no such type") == {"removed": 0, "more": False}


def test_ends_of_several_types_go_oldest_first(make_rig: MakeRig) -> None:
    """A105: however the types are called."""
    rig = make_rig(Nap, Counter)
    order = []
    for i in range(6):
        if i % 2:
            order.append(rig.start("nap", payload={"delay_us": 0}))
        else:
            order.append(rig.start("counter"))
            rig.call("workflow_signal", order[-1], "finish")
        rig.advance(seconds(1))
    rig.advance(days(1))

    def first(ctx: Any) -> list[int]:
        return [row.id for row in ended_before(ctx, ctx.now, 4)]

    assert rig.run(first) == order[:4]


def test_ends_from_before_the_column_existed_are_found(make_rig: MakeRig) -> None:
    """A105, E-traps: a database of an older version is cleaned up as well; nothing is looked for once all is noted."""
    rig = make_rig(Counter)
    ended = rig.start("counter")
    rig.call("workflow_signal", ended, "finish")
    rig.run(lambda ctx: ctx.db.workflow.update(ended, ended_at=None) and None)
    rig.advance(days(2))
    rig.crash()
    rig.reopen()
    assert rig.call("cleanup_old_workflows", 1) == {"removed": 1, "more": False}


def test_an_age_that_is_no_number_of_days(make_rig: MakeRig) -> None:
    """A105: more days than there have been remove nothing; fewer than none are refused."""
    rig = make_rig(Counter)
    calls: tuple[tuple[Any, ...], ...] = (
        ("cleanup_old_workflows",), ("cleanup_old_tasks",), ("workflow_keys_forget",), ("cleanup_by_type", {}),
    )  # fmt: skip
    for reducer, *more in calls:
        assert rig.call(reducer, 1.7e308, *more) == {"removed": 0, "more": False}
        if reducer != "cleanup_by_type":
            with pytest.raises(SenderError) as refused:
                rig.call(reducer, -0.5)
            assert refused.value.code == "bad_arguments"
    rig.call("workflow_signal", rig.start("counter"), "finish")
    assert rig.call("cleanup_by_type", 0, {"counter": 1e300}) == {"removed": 0, "more": False}
