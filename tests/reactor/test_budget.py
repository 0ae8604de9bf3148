"""``reactor.budget``: a reducer that does not end is stopped, and what it did is undone."""

from __future__ import annotations

import dataclasses
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from reactor import Context, Fault, Module, index, primary_key
from reactor.budget import CallBudgetExceededError, NoGuard, SignalGuard
from reactor.limits import DEFAULT_LIMITS
from reactor.testing import Rig

LIMITS = dataclasses.replace(DEFAULT_LIMITS, call_budget_s=0.05)

runaway = Module("runaway")


@runaway.table(indexes=["zone", index("hp", ordered=True)])
class Monster:
    """Something to write."""

    id: int = primary_key(auto=True)
    zone: int = 0
    hp: int = 0


@runaway.reducer
def spin(ctx: Context) -> None:
    """No end, outside the tables."""
    ctx.db.monster.insert()
    while True:
        pass


@runaway.reducer
def swallow(ctx: Context) -> None:
    """No end, and deaf to errors."""
    ctx.db.monster.insert()
    for _ in range(3):
        try:
            while True:
                pass
        except BaseException:
            ctx.db.monster.insert()
    while True:
        pass


@runaway.reducer
def churn(ctx: Context) -> None:
    """No end, nearly always inside the tables."""
    monsters = ctx.db.monster
    while True:
        row = monsters.insert(zone=1)
        for i in range(20):
            row = monsters.update(row, zone=i, hp=i)
        list(monsters.range("hp", 0, 10))
        if len(monsters) > 200:
            for each in monsters.where(zone=19):
                monsters.delete(each)


@runaway.reducer
def fail_late(ctx: Context, for_s: float) -> None:
    """Raise at about the moment the time is up."""
    ctx.db.monster.insert()
    until = time.monotonic() + for_s
    while time.monotonic() < until:
        pass
    raise ZeroDivisionError


@pytest.fixture
def guarded() -> Iterator[Rig]:
    """A rig with a real guard and a short budget."""
    before = signal.getsignal(signal.SIGALRM)
    with Rig(runaway, limits=LIMITS, guard=SignalGuard(check_every_s=0.01)) as rig:
        rig.run(lambda ctx: ctx.db.monster.insert(zone=7) and None)
        yield rig
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("reducer", ["spin", "swallow", "churn"])
def test_p7_an_endless_reducer_is_interrupted_and_undone(guarded: Rig, reducer: str) -> None:
    """P7: the call ends within its budget, the tables and indexes are as before, the next call runs."""
    table = guarded.engine.store.tables["monster"]
    before = [sorted(each.items()) for each in table.index_list]
    for _ in range(3):
        started = time.monotonic()
        with pytest.raises(Fault) as caught:
            guarded.call(reducer)
        assert caught.value.code == "budget_exceeded"
        assert time.monotonic() - started < 5
        assert [sorted(each.items()) for each in table.index_list] == before
        assert [row.zone for row in table] == [7]
    guarded.run(lambda ctx: ctx.db.monster.delete(1) and None)
    assert len(table) == 0


def test_the_alarm_cannot_hit_what_comes_after_the_reducer(guarded: Rig) -> None:
    """A reducer that fails in the very moment its time is up is undone once and answered once."""
    for i in range(40):
        with pytest.raises(Fault) as caught:
            guarded.call("fail_late", 0.045 + i * 0.0005)
        assert caught.value.code in ("budget_exceeded", "internal")
    assert [row.zone for row in guarded.rows("monster")] == [7]


def test_the_alarm_leaves_alone_who_has_time_or_is_leaving() -> None:
    """It asks whether a call runs, since when, and whether the tables are at work."""
    before = signal.getsignal(signal.SIGALRM)
    try:
        guard = SignalGuard()
        guard.enter(0.0)
        frame: Any = sys._getframe()
        guard._alarm(0, frame)  # seen for the first time
        with pytest.raises(CallBudgetExceededError):
            guard._alarm(0, frame)

        class Leaving:
            f_code = SignalGuard.leave.__code__
            f_back = None

        guard._alarm(0, Leaving())  # type: ignore[arg-type]
        guard.leave()
        guard._alarm(0, frame)
        guard.enter(60.0)
        guard._alarm(0, frame)
        guard._alarm(0, frame)
        guard.leave()
        guard.arm()
        assert signal.getitimer(signal.ITIMER_REAL)[1] > 0
        guard.disarm()
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_no_guard_lets_everything_run() -> None:
    """For simulation, where time does not pass."""
    guard = NoGuard()
    guard.arm()
    guard.enter(0.0)
    guard.leave()
    guard.disarm()
