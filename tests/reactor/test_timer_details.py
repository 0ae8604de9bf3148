"""Catch-up and rescheduling where it is easy to be off by one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from reactor import Context, Duration, Module, Timestamp, primary_key
from reactor.testing import Rig
from reactor.timers import CatchUp, plan_firing


def _row(**columns: Any) -> Any:
    return SimpleNamespace(**{"interval": 10, "missed": 0, "drop_after": None, **columns})


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (100, (True, 100, 0, 110)),
        (109, (True, 100, 0, 110)),
        (110, (True, 110, 1, 120)),
        (111, (False, 120, 2, 120)),
        (130, (True, 130, 3, 140)),
    ],
)
def test_a86_skip_fires_what_is_due_at_this_very_instant(now: int, expected: Any) -> None:
    """A86: an occurrence due exactly now is not missed; those before it are."""
    assert tuple(plan_firing(_row(catch_up=CatchUp.SKIP), 100, now)) == expected


@pytest.mark.parametrize(
    ("now", "run", "next_due", "missed"),
    [(102, True, 110, 0), (103, False, 110, 1), (112, False, 110, 1), (113, False, 120, 2), (155, False, 160, 6)],
)
def test_a86_what_is_too_late_is_dropped_at_once(now: int, run: bool, next_due: int, missed: int) -> None:
    """A86: everything later than ``drop_after`` goes in one step, and the first that is not too late is next."""
    firing = plan_firing(_row(catch_up=CatchUp.DROP_IF_LATE, drop_after=2), 100, now)
    assert (firing.run, firing.next_due, firing.missed) == (run, next_due, missed)


def test_a86_one_commit_drops_a_whole_backlog() -> None:
    """P8: a day of missed beats that nobody wants costs one commit."""
    rung: list[int] = []
    with Rig(_bells(rung)) as rig:
        rig.run(
            lambda ctx: (
                ctx.db.bell.insert(
                    scheduled_at=ctx.now + 1_000, interval=1_000, catch_up=CatchUp.DROP_IF_LATE, drop_after=500
                )
                and None
            )
        )
        before = rig.engine.seq
        rig.clock.advance(86_400_000_000)
        rig.settle()
        assert rig.engine.seq - before <= 2
        assert rig.rows("bell")[0].scheduled_at > rig.clock.now() - 500


def _bells(rung: list[int], pace: int | None = None) -> Module:
    module = Module("bells")

    @module.table(scheduled="ring")
    class Bell:
        scheduled_id: int = primary_key(auto=True)
        scheduled_at: Timestamp
        interval: Duration = 0
        clock: str = "wall"
        catch_up: CatchUp = CatchUp.FIRE_ALL
        drop_after: Duration | None = None

    @module.reducer
    def ring(ctx: Context, bell: Bell) -> None:
        rung.append(ctx.now)
        if pace is not None:
            ctx.db.bell.update(bell, interval=pace)

    return module


def test_a_handler_may_end_its_own_interval() -> None:
    """A91: an interval set to 0 in the handler has rung for the last time."""
    rung: list[int] = []
    with Rig(_bells(rung, pace=0)) as rig:
        rig.run(lambda ctx: ctx.db.bell.insert(scheduled_at=ctx.now + 1_000, interval=1_000) and None)
        rig.advance(10_000)
        assert len(rung) == 1
        assert rig.rows("bell") == []


def test_a_handler_may_change_its_own_pace() -> None:
    """A85: the new interval counts from the occurrence in which it was set."""
    rung: list[int] = []
    with Rig(_bells(rung, pace=3_000)) as rig:
        start = rig.clock.now()
        rig.run(lambda ctx: ctx.db.bell.insert(scheduled_at=ctx.now + 1_000, interval=1_000) and None)
        rig.advance(10_000)
        assert [at - start for at in rung] == [1_000, 4_000, 7_000, 10_000]


def test_ids_are_not_given_twice_after_an_undone_reservation() -> None:
    """P3 of ids: a reservation is undone, a chosen id goes beyond it, the row is deleted, the process restarts."""
    module = Module("ids")

    @module.table()
    class Thing:
        id: int = primary_key(auto=True)

    with Rig(module) as rig:
        with pytest.raises(Exception, match="failed"):
            rig.run(lambda ctx: [ctx.db.thing.insert() for _ in range(3)] and 1 / 0)
        rig.run(lambda ctx: ctx.db.thing.insert(id=2) and None)
        rig.run(lambda ctx: ctx.db.thing.delete(2) and None)
        rig.crash()
        rig.reopen()
        assert rig.run(lambda ctx: ctx.db.thing.insert().id) > 2


def test_a_worlds_clock_goes_back_to_the_last_heartbeat() -> None:
    """Decision 1: a killed server has lived at most a second longer than ``world`` knows."""
    with Rig(_bells([])) as rig:
        rig.advance(5_000_000)
        rig.crash(heartbeat_age_us=400_000)
        rig.advance(60_000_000)
        rig.reopen()
        assert rig.engine.scopes.value_at("world", rig.clock.now()) == 4_600_000


def test_a92_lateness_is_counted() -> None:
    """A92: each firing is counted under how late it was."""
    with Rig(_bells([])) as rig:
        rig.run(lambda ctx: [ctx.db.bell.insert(scheduled_at=ctx.now + late) for late in (0, 4_000, 200_000)] and None)
        rig.clock.advance(200_000)
        rig.settle()
        counters = rig.engine.counters
        assert counters.fired == sum(counters.lateness) == 3
        assert counters.lateness_us_max == counters.lateness_us_sum == 196_000
        assert counters.lateness[0] == 2 and counters.lateness[4] == 1
