"""Timers through the whole engine: exact times, restarts, failures, policies (A80-A93)."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from reactor import CatchUp, Context, Duration, Module, SenderError, TimerInfo, Timestamp, primary_key
from reactor.clock import MINUTE, SECOND
from reactor.columns import I32, U8
from reactor.limits import DEFAULT_LIMITS
from reactor.testing import Rig

MS = 1_000

timed = Module("timed")
fired: list[tuple[int, int, TimerInfo]] = []


@timed.table(public=True)
class Count:
    """How often each bell rang."""

    id: int = primary_key()
    times: int = 0


@timed.table(scheduled="ring", unique=["name"])
class Bell:
    """Every optional column."""

    scheduled_id: int = primary_key(auto=True)
    scheduled_at: Timestamp
    clock: str = "wall"
    interval: Duration = 0
    catch_up: CatchUp = CatchUp.FIRE_ALL
    drop_after: Duration | None = None
    generation: int = 0
    cancelled: bool = False
    missed: I32 = 0
    priority: U8 = 0
    name: str | None = None
    act: str = ""


@timed.table(scheduled="ring_once", unique=["scheduled_at"])
class Slot:
    """A table whose own rule forbids two rows due together."""

    scheduled_id: int = primary_key(auto=True)
    scheduled_at: Timestamp
    interval: Duration = 0


@timed.reducer
def arm(ctx: Context, delay_us: int, interval_us: int = 0, act: str = "") -> int:
    """Set a bell."""
    bell: int = ctx.db.bell.insert(scheduled_at=ctx.now + delay_us, interval=interval_us, act=act).scheduled_id
    return bell


@timed.reducer
def arm_and_fail(ctx: Context) -> None:
    """A83: what is armed here never rings."""
    ctx.db.bell.insert(scheduled_at=ctx.now + 5)
    raise SenderError("sender_error", "no")


@timed.reducer
def ring_once(ctx: Context, slot: Slot) -> None:
    """Nothing to do."""


@timed.reducer
def ring(ctx: Context, bell: Bell) -> None:
    """Note what the context says; then do as the bell says."""
    assert ctx.timer is not None
    fired.append((bell.scheduled_id, ctx.now, ctx.timer))
    row = ctx.db.count.get(bell.scheduled_id)
    if row is None:
        ctx.db.count.insert(id=bell.scheduled_id, times=1)
    else:
        ctx.db.count.update(row, times=row.times + 1)
    bells = ctx.db.bell
    assert bells.get(bell.scheduled_id) == bell, "A91: the row is there for its own handler"
    match bell.act:
        case "fail":
            raise ZeroDivisionError("in the bell")
        case "later":
            bells.update(bell, scheduled_at=bell.scheduled_at + 10, act="")
        case "same":
            bells.update(bell, generation=bell.generation + 1, act="")
        case "cancel":
            bells.update(bell, cancelled=True)
        case "delete":
            bells.delete(bell)
        case "clash":
            bells.insert(scheduled_at=ctx.now + SECOND, name="x")


@pytest.fixture
def rig() -> Any:
    """A rig with nothing fired yet."""
    fired.clear()
    with Rig(timed) as made:
        yield made


def _times(rig: Rig) -> dict[int, int]:
    return {row.id: row.times for row in rig.rows("count")}


def _dues(rig: Rig, start: int) -> list[int]:
    return [now - start for _, now, _ in fired]


def test_p3_never_early(rig: Rig) -> None:
    """P3: one µs before its instant nothing has happened."""
    key = rig.call("arm", 5 * MINUTE)
    rig.advance(5 * MINUTE - 1)
    assert fired == []
    rig.advance(1)
    assert [(k, info.lateness_us) for k, _, info in fired] == [(key, 0)]
    assert rig.row("bell", key) is None, "A91: gone after its commit"


def test_a81_a_restart_does_not_move_a_due_time(rig: Rig) -> None:
    """A81: armed for minute 5, crashed at minute 3, back at once: rings at minute 5."""
    rig.call("arm", 5 * MINUTE)
    rig.advance(3 * MINUTE)
    rig.crash()
    rig.reopen()
    rig.advance(2 * MINUTE - 1)
    assert fired == []
    rig.advance(1)
    assert len(fired) == 1


def test_a82_a87_overdue_timers_fire_once_right_after_the_start(rig: Rig) -> None:
    """A82, A87: the handler is told when it was due, when it ran, and how late that is."""
    start = rig.clock.now()
    rig.call("arm", MINUTE)
    rig.crash()
    rig.advance(3 * MINUTE)
    rig.reopen()
    assert len(fired) == 1
    info = fired[0][2]
    assert fired[0][1] == info.due_at == start + MINUTE
    assert (info.fired_at, info.lateness_us, info.missed) == (start + 3 * MINUTE, 2 * MINUTE, 0)
    rig.crash()
    rig.reopen()
    rig.advance(MINUTE)
    assert len(fired) == 1
    assert rig.engine.counters.lateness_us_max == 0


def test_a83_a_rolled_back_call_leaves_no_timer(rig: Rig) -> None:
    """A83: no row, no entry, no ring."""
    with pytest.raises(SenderError):
        rig.call("arm_and_fail")
    assert rig.engine.next_due() is None
    rig.advance(MINUTE)
    assert fired == []


def test_a84_reloading_makes_no_duplicates(rig: Rig) -> None:
    """A84: ten restarts between arming and ringing."""
    key = rig.call("arm", MINUTE)
    for _ in range(10):
        rig.advance(SECOND)
        rig.crash()
        rig.reopen()
    rig.advance(MINUTE)
    assert _times(rig) == {key: 1}


def test_a85_req2_a_hundred_thousand_periods_without_drift() -> None:
    """A85, REQ-2: after 100,000 periods the phase error is 0, whatever the pauses of the process were."""
    fired.clear()
    limits = dataclasses.replace(DEFAULT_LIMITS, timers_per_turn_max=5_000)
    with Rig(timed, limits=limits) as rig:
        start = rig.clock.now()
        key = rig.call("arm", 100 * MS, 100 * MS)
        for _ in range(10):
            rig.clock.advance(1_000 * SECOND + 37 * MS)
            rig.settle()
        periods = len(fired)
        assert periods == 100_000 + 3
        assert [now for _, now, _ in fired] == [start + i * 100 * MS for i in range(1, periods + 1)]
        assert rig.row("bell", key).scheduled_at == start + (periods + 1) * 100 * MS


def test_a90_cancelled_and_deleted_timers_do_not_fire(rig: Rig) -> None:
    """A90: no effect, and the entry left behind is counted."""
    one, two = rig.call("arm", SECOND), rig.call("arm", SECOND)
    rig.advance(SECOND - 1)
    rig.run(lambda ctx: ctx.db.bell.update(one, cancelled=True))
    rig.run(lambda ctx: ctx.db.bell.delete(two))
    rig.advance(MINUTE)
    assert fired == []
    assert rig.engine.timers.stale == 2
    assert rig.row("bell", one).cancelled


@pytest.mark.parametrize(
    ("act", "rings", "stays"),
    [("", 1, False), ("later", 2, False), ("same", 2, False), ("cancel", 1, True), ("delete", 1, False)],
)
def test_what_a_handler_does_to_its_own_row_is_its_will(rig: Rig, act: str, rings: int, stays: bool) -> None:
    """Moved, set anew to the same instant, cancelled, deleted, or left alone."""
    key = rig.call("arm", SECOND, 0, act)
    rig.advance(MINUTE)
    assert _times(rig) == {key: rings}
    assert (rig.row("bell", key) is not None) == stays


def test_req11_a_failing_handler_counts_as_fired_and_leaves_a_row(rig: Rig) -> None:
    """REQ-11: its effects are undone, the next period comes, others ring, and a row says why."""
    bad = rig.call("arm", SECOND, SECOND, "fail")
    good = rig.call("arm", SECOND)
    start = rig.clock.now()
    rig.advance(3 * SECOND)
    assert _times(rig) == {good: 1}
    assert rig.row("bell", bad).scheduled_at == start + 4 * SECOND
    errors = rig.rows("timer_error")
    assert [(e.table_name, e.scheduled_id, e.due_at - start) for e in errors] == [
        ("bell", bad, i * SECOND) for i in (1, 2, 3)
    ]
    assert errors[0].message == "ZeroDivisionError: in the bell"
    assert rig.engine.counters.timer_failures == 3


def test_req19_error_rows_are_bounded() -> None:
    """REQ-19: a bell that fails for ever does not fill the memory."""
    with Rig(timed, limits=dataclasses.replace(DEFAULT_LIMITS, timer_errors_max=5)) as rig:
        rig.call("arm", SECOND, SECOND, "fail")
        rig.advance(20 * SECOND)
        assert [e.id for e in rig.rows("timer_error")] == [16, 17, 18, 19, 20]


@pytest.mark.parametrize(
    "bell",
    [
        {"interval": (1 << 63) - 1},
        {"interval": (1 << 63) - 1, "catch_up": "skip"},
        {"interval": -5},
        {"interval": 1, "catch_up": "skip", "missed": (1 << 31) - 1},
        {"interval": 1, "catch_up": "coalesce", "missed": (1 << 31) - 1},
        {"clock": "zone:7"},
        {"act": "clash", "interval": SECOND},
    ],
)
def test_p7_no_row_can_stop_the_others(rig: Rig, bell: dict[str, Any]) -> None:
    """P7: absurd intervals, counts and clocks: other timers ring, calls are answered, also after a restart."""

    def add(ctx: Context) -> None:
        ctx.db.bell.insert(scheduled_at=ctx.now + 5, **bell)
        ctx.db.bell.insert(scheduled_at=ctx.now + 6, name="other")

    rig.run(add)
    rig.clock.advance(2 * SECOND)
    rig.host.run_turn()
    assert 2 in _times(rig)
    assert rig.call("arm", MINUTE) > 0
    rig.crash()
    rig.reopen(timed)
    assert rig.call("arm", MINUTE) > 0


def test_p7_a_row_that_cannot_go_on_is_deleted(rig: Rig) -> None:
    """P7: where the table's own rule forbids the next due time, the log says so and the rest goes on."""
    start = rig.clock.now()

    def add(ctx: Context) -> None:
        ctx.db.slot.insert(scheduled_at=start + 5, interval=10)
        ctx.db.slot.insert(scheduled_at=start + 15)

    rig.run(add)
    rig.advance(10)
    assert [r.scheduled_id for r in rig.rows("slot")] == [2]
    assert len(rig.rows("timer_error")) == 1
    assert any("cannot go on and is deleted" in text for _, _, text in rig.logs)
    rig.advance(10)
    assert rig.rows("slot") == []


def test_timers_have_positive_ids(rig: Rig) -> None:
    """Ids order those due together; one that has no place in that order is refused when inserted."""
    with pytest.raises(SenderError, match="ids of scheduled rows start at 1"):
        rig.run(lambda ctx: ctx.db.bell.insert(scheduled_id=-3, scheduled_at=ctx.now))


# -- catch-up --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "dues", "missed"),
    [
        (CatchUp.FIRE_ALL, [1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 0]),
        (CatchUp.COALESCE, [1, 5, 6], [0, 3, 0]),
        (CatchUp.SKIP, [1, 6], [0, 4]),
    ],
)
def test_a86_downtime_under_each_policy(rig: Rig, policy: CatchUp, dues: list[int], missed: list[int]) -> None:
    """A86: down from second 1.5 to 5.5; the phase is kept and the handler is told what it stands for."""
    start = rig.clock.now()
    rig.run(lambda ctx: ctx.db.bell.insert(scheduled_at=start + SECOND, interval=SECOND, catch_up=policy))
    rig.advance(1_500 * MS)
    rig.crash()
    rig.advance(4 * SECOND)
    rig.reopen()
    rig.advance(600 * MS)
    assert _dues(rig, start) == [d * SECOND for d in dues]
    assert [info.missed for _, _, info in fired] == missed


def test_a86_a_restart_that_misses_nothing_does_not_re_anchor(rig: Rig) -> None:
    """A86: the phase of an interval is that of its first occurrence."""
    start = rig.clock.now()
    rig.call("arm", SECOND, SECOND)
    for _ in range(5):
        rig.advance(700 * MS)
        rig.crash()
        rig.reopen()
    assert _dues(rig, start) == [SECOND, 2 * SECOND, 3 * SECOND]


def test_a86_drop_if_late(rig: Rig) -> None:
    """A86: an occurrence later than its bound is dropped; one within it fires."""

    def add(ctx: Context) -> None:
        for bound in (500 * MS, 5 * SECOND):
            ctx.db.bell.insert(scheduled_at=ctx.now + SECOND, catch_up="drop_if_late", drop_after=bound)

    rig.run(add)
    rig.crash()
    rig.advance(3 * SECOND)
    rig.reopen()
    assert [key for key, _, _ in fired] == [2]
    assert rig.rows("bell") == []


def test_req4_a_backlog_leaves_room_for_calls() -> None:
    """REQ-4: with timers overdue without number, a call waits for one turn's share of them."""
    fired.clear()
    with Rig(timed, limits=dataclasses.replace(DEFAULT_LIMITS, timers_per_turn_max=10)) as rig:
        rig.run(lambda ctx: [ctx.db.bell.insert(scheduled_at=ctx.now + 1) for _ in range(100)] and None)
        rig.clock.advance(SECOND)
        client = rig.connect()
        before = len(fired)
        client.send({"id": 1, "call": "arm", "args": [SECOND]})
        rig.host.run_turn()
        assert client.received[-1]["id"] == 1 or before == 100
        rig.settle()
        assert [key for key, _, _ in fired] == list(range(1, 101))


def test_inputs_come_after_timers_due_before_them(rig: Rig) -> None:
    """A call stamped t is applied after every timer due at or before t."""
    key = rig.call("arm", SECOND)
    rig.clock.advance(SECOND)
    seen: list[int] = []
    rig.run(lambda ctx: seen.append(ctx.db.count.get(key).times))
    assert seen == [1]


# -- the world clock -------------------------------------------------------------------------------


def test_the_world_stands_still_while_the_process_is_down(rig: Rig) -> None:
    """A `world` timer waits for world time; a `wall` timer does not."""
    world = rig.run(lambda ctx: ctx.db.bell.insert(scheduled_at=ctx.clock_value("world") + MINUTE, clock="world"))
    wall = rig.call("arm", MINUTE)
    rig.advance(20 * SECOND)
    rig.crash()
    rig.advance(10 * MINUTE)
    rig.reopen()
    assert [key for key, _, _ in fired] == [wall]
    rig.advance(40 * SECOND - 1)
    assert len(fired) == 1
    rig.advance(1)
    assert [(k, i.clock, i.lateness_us) for k, _, i in fired[1:]] == [(world.scheduled_id, "world", 0)]


def test_a_wall_clock_set_forward_moves_wall_timers_only(rig: Rig) -> None:
    """A jump of the wall is no time that the world has lived through."""
    rig.run(lambda ctx: ctx.db.bell.insert(scheduled_at=ctx.clock_value("world") + MINUTE, clock="world"))
    rig.call("arm", 30 * MINUTE)
    rig.clock.advance(30 * MINUTE)
    rig.host.wall_stepped(30 * MINUTE)
    rig.settle()
    assert [info.clock for _, _, info in fired] == ["wall"]
    rig.advance(MINUTE)
    assert [info.clock for _, _, info in fired] == ["wall", "world"]


def test_req5_slowing_a_scope_writes_one_row(rig: Rig) -> None:
    """REQ-5: half the speed, twice the wait, for every timer of the scope."""

    def zone(ctx: Context) -> None:
        ctx.db.clock.insert(scope="zone:1", anchor_wall=ctx.now, anchor_value=0, rate_ppm=500_000)
        for _ in range(50):
            ctx.db.bell.insert(scheduled_at=10 * SECOND, clock="zone:1")

    rig.run(zone)
    rig.advance(20 * SECOND - 1)
    assert fired == []
    seq = rig.engine.seq
    rig.run(lambda ctx: ctx.db.clock.update("zone:1", rate_ppm=0, anchor_wall=ctx.now, anchor_value=10 * SECOND - 1))
    assert rig.engine.seq == seq + 1
    rig.advance(MINUTE)
    assert fired == []
    rig.run(lambda ctx: ctx.db.clock.update("zone:1", rate_ppm=1_000_000, anchor_wall=ctx.now))
    rig.advance(1)
    assert len(fired) == 50


def test_a93_many_at_one_instant_after_a_restart(rig: Rig) -> None:
    """A93: 10,000 due together all fire once, oldest first."""
    rig.run(lambda ctx: [ctx.db.bell.insert(scheduled_at=ctx.now + 7) for _ in range(10_000)] and None)
    rig.crash()
    rig.advance(MINUTE)
    rig.reopen()
    assert [key for key, _, _ in fired] == list(range(1, 10_001))
    assert set(_times(rig).values()) == {1}
