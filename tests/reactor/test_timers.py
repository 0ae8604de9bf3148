"""``reactor.timers``: order, staleness, slots, and what each catch-up policy does."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reactor.columns import I32, U8, Duration, Timestamp
from reactor.limits import DEFAULT_LIMITS
from reactor.schema import declare_table, primary_key
from reactor.scopes import CLOCK_SCHEMA, NORMAL_RATE_PPM, WORLD, Scopes
from reactor.store import SEQUENCE_SCHEMA, Store
from reactor.timers import CatchUp, Timers, clock_of, is_pending, plan_firing

SECOND = 1_000_000


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


class Plain:
    """None of them."""

    scheduled_id: int = primary_key(auto=True)
    scheduled_at: Timestamp


SCHEMAS = [
    SEQUENCE_SCHEMA,
    CLOCK_SCHEMA,
    declare_table(Bell, scheduled="ring"),
    declare_table(Plain, scheduled="ring"),
]


class Bench:
    """A store whose scheduled tables are followed by ``Timers``."""

    def __init__(self) -> None:
        self.store = Store(SCHEMAS, {s.name: i + 1 for i, s in enumerate(SCHEMAS)}, DEFAULT_LIMITS)
        self.clocks = self.store.tables["clock"]
        self.bells = self.store.tables["bell"]
        self.plain = self.store.tables["plain"]
        self.timers = Timers(Scopes(self.clocks))

    def do(self, act: Any) -> Any:
        """Run ``act`` as a call and let the index follow."""
        self.store.begin()
        result = act()
        for table, key, old, new in self.store.commit():
            if table.is_scheduled:
                self.timers.changed(table, key, old, new)
        return result

    def add(self, due: int, **columns: Any) -> int:
        """A bell; returns its id."""
        key: int = self.do(lambda: self.bells.insert(scheduled_at=due, **columns)).scheduled_id
        return key

    def drain(self, now: int) -> list[int]:
        """Pop everything due and delete its row."""
        found = []
        while (due := self.timers.pop_due(now)) is not None:
            found.append(due.key)
            self.do(lambda due=due: due.table.delete(due.key))
        return found


def test_a93_order_is_due_then_priority_then_age() -> None:
    """A93: of those due in the same instant the lower class first, then the older."""
    bench = Bench()
    later = bench.add(3 * SECOND)
    second = bench.add(2 * SECOND, priority=1)
    third = bench.add(2 * SECOND, priority=1)
    first = bench.add(2 * SECOND)
    assert bench.timers.next_due() is not None
    assert bench.drain(2 * SECOND - 1) == []
    assert bench.drain(2 * SECOND) == [first, second, third]
    assert bench.drain(3 * SECOND) == [later]
    assert bench.timers.next_due() is None


def test_a93_ten_thousand_at_one_instant() -> None:
    """A93: none is lost and the order is that of their ids, also after a rebuild."""
    bench = Bench()
    keys = [bench.add(5 * SECOND) for _ in range(10_000)]
    bench.timers.load(bench.store)
    assert len(bench.timers.pending()) == 10_000
    assert bench.drain(5 * SECOND) == keys


def test_cancelled_deleted_and_moved_timers_do_not_fire() -> None:
    """A90: whatever entry is left behind is found void, and counted."""
    bench = Bench()
    near = [bench.add(SECOND + i) for i in range(4)]  # in the slot that begins at 0
    assert bench.drain(SECOND // 2 + SECOND // 4) == []
    bench.timers.pop_due(SECOND * 999 // 1000)  # the slot has begun, so what is in it can only go stale
    far = [bench.add(100 * SECOND + i) for i in range(4)]
    for keys in (near, far):
        bench.do(lambda keys=keys: bench.bells.update(keys[0], cancelled=True))
        bench.do(lambda keys=keys: bench.bells.delete(keys[1]))
        bench.do(lambda keys=keys: bench.bells.update(keys[2], scheduled_at=200 * SECOND))
    assert bench.drain(150 * SECOND) == [near[3], far[3]]
    assert bench.timers.stale == 3, "those in the heap; those in a slot were taken out"
    assert bench.drain(200 * SECOND) == [near[2], far[2]]
    assert not is_pending(bench.bells.require(near[0]))


def test_cancelling_far_timers_leaves_nothing_to_pop() -> None:
    """REQ-6: a timer that is cancelled in its slot costs nothing later."""
    bench = Bench()
    for _ in range(1000):
        key = bench.add(3600 * SECOND)
        bench.do(lambda key=key: bench.bells.delete(key))
    assert bench.drain(4000 * SECOND) == []
    assert bench.timers.stale == 0


def test_req6_what_is_cancelled_before_a_far_timer_is_gone() -> None:
    """REQ-6, REQ-21: a timer far ahead does not make the index keep all that is cancelled before its time."""
    bench = Bench()
    far = bench.add(3600 * SECOND)
    assert bench.timers.next_due() is not None
    for i in range(1000):
        key = bench.add(1800 * SECOND + i)
        bench.timers.next_due()
        bench.do(lambda key=key: bench.bells.delete(key))
    assert sum(len(list(queue.entries())) for queue in bench.timers._queues.values()) <= 2
    assert bench.drain(3600 * SECOND) == [far]


def test_a_cancelled_timer_can_be_taken_back() -> None:
    """It fires once, at the time it has then."""
    bench = Bench()
    key = bench.add(SECOND)
    bench.do(lambda: bench.bells.update(key, cancelled=True))
    bench.do(lambda: bench.bells.update(key, cancelled=False))
    bench.do(lambda: bench.bells.update(key, scheduled_at=2 * SECOND))
    bench.do(lambda: bench.bells.update(key, scheduled_at=SECOND))
    assert bench.drain(3 * SECOND) == [key]


def test_a_priority_may_change() -> None:
    """The order is that of the row as it stands."""
    bench = Bench()
    first, second = bench.add(50 * SECOND), bench.add(50 * SECOND)
    bench.do(lambda: bench.bells.update(first, priority=9))
    assert bench.drain(50 * SECOND) == [second, first]


def test_put_back() -> None:
    """A timer that was taken and could not fire is due again; one whose row is gone is not."""
    bench = Bench()
    key = bench.add(SECOND)
    due = bench.timers.pop_due(SECOND)
    assert due is not None
    assert (due.key, due.due_value, due.due_at) == (key, SECOND, SECOND)
    assert bench.timers.pop_due(SECOND) is None
    bench.timers.put_back(due)
    assert bench.drain(SECOND) == [key]
    bench.timers.put_back(due)
    assert bench.drain(SECOND) == []


def test_a84_loading_again_makes_no_duplicates() -> None:
    """A84: the index is built anew from the rows, however often."""
    bench = Bench()
    key = bench.add(SECOND)
    for _ in range(10):
        bench.timers.load(bench.store)
    assert bench.timers.pending() == {("bell", key): SECOND}
    assert bench.drain(SECOND) == [key]


def test_other_clocks() -> None:
    """A stopped clock holds its timers; a rate moves them all by one row (REQ-5)."""
    bench = Bench()
    bench.do(lambda: bench.clocks.insert(scope=WORLD, anchor_wall=1000, anchor_value=0))
    world = bench.add(500, clock=WORLD)
    plain = bench.do(lambda: bench.plain.insert(scheduled_at=1400)).scheduled_id
    assert bench.timers.pop_due(1399) is None
    assert bench.timers.next_due() == 1400, "exact once its slot has begun"
    due = bench.timers.pop_due(1400)
    assert due is not None
    assert (due.table.name, due.key) == ("plain", plain)
    bench.do(lambda: bench.clocks.update(WORLD, rate_ppm=0))
    assert bench.timers.next_due() is None
    assert bench.drain(10**9) == []
    bench.do(lambda: bench.clocks.update(WORLD, rate_ppm=2 * NORMAL_RATE_PPM))
    assert bench.timers.next_due() == 1250
    due = bench.timers.pop_due(1250)
    assert due is not None
    assert (due.key, due.due_value, due.due_at) == (world, 500, 1250)


def test_p7_a_clock_that_does_not_exist_holds_its_own_timers_only() -> None:
    """P7: one bad row neither stops the others nor is lost: it waits until the clock is there."""
    bench = Bench()
    bad, good = bench.add(5, clock="zone:9"), bench.add(6)
    assert bench.drain(100) == [good]
    assert bench.timers.next_due() is None
    bench.do(lambda: bench.clocks.insert(scope="zone:9", anchor_wall=0, anchor_value=0))
    assert bench.drain(100) == [bad]


def test_due_values_at_the_edges() -> None:
    """A due value before 1970 is due at once; the last instant of 64 bits is never reached, nor in the way."""
    bench = Bench()
    old = bench.add(-5)
    last = bench.add((1 << 63) - 1)
    assert bench.timers.next_due() == 0
    assert bench.drain(10) == [old]
    assert bench.timers.pending() == {("bell", last): (1 << 63) - 1}
    last_second = bench.timers.next_due()
    assert last_second is not None
    assert 0 <= (1 << 63) - 1 - last_second < 1 << 20, "early by less than a slot, never late"


# -- catch-up --------------------------------------------------------------------------------------


class Row(NamedTuple):
    """What ``plan_firing`` reads."""

    interval: int | None = 100
    catch_up: str | None = CatchUp.FIRE_ALL
    drop_after: int | None = None
    missed: int = 0


@pytest.mark.parametrize(
    ("row", "now", "expected"),
    [
        # run, due, missed, next
        (Row(None), 1000, (True, 1000, 0, None)),
        (Row(None, CatchUp.COALESCE), 9000, (True, 1000, 0, None)),
        (Row(None, CatchUp.SKIP), 9000, (True, 1000, 0, None)),
        (Row(), 1000, (True, 1000, 0, 1100)),
        (Row(), 1570, (True, 1000, 0, 1100)),
        (Row(100, CatchUp.COALESCE), 1099, (True, 1000, 0, 1100)),
        (Row(100, CatchUp.COALESCE), 1100, (True, 1100, 1, 1200)),
        (Row(100, CatchUp.COALESCE), 1570, (True, 1500, 5, 1600)),
        (Row(100, CatchUp.COALESCE, missed=2), 1570, (True, 1500, 7, 1600)),
        (Row(100, CatchUp.SKIP), 1099, (True, 1000, 0, 1100)),
        (Row(100, CatchUp.SKIP), 1570, (False, 1600, 6, 1600)),
        (Row(100, CatchUp.SKIP, missed=6), 1050, (True, 1000, 6, 1100)),
        (Row(None, CatchUp.DROP_IF_LATE, 50), 1050, (True, 1000, 0, None)),
        (Row(None, CatchUp.DROP_IF_LATE, 50), 1051, (False, 1000, 1, None)),
        (Row(100, CatchUp.DROP_IF_LATE, 50), 1051, (False, 1000, 1, 1100)),
        (Row(100, CatchUp.DROP_IF_LATE), 9000, (True, 1000, 0, 1100)),
        (Row(-100), 9000, (True, 1000, 0, None)),
        (Row(0), 9000, (True, 1000, 0, None)),
        (Row(100, None), 1000, (True, 1000, 0, 1100)),
    ],
)
def test_a86_policies(row: Row, now: int, expected: tuple[Any, ...]) -> None:
    """A86: one line per policy and case; the first occurrence is due at 1000."""
    assert tuple(plan_firing(row, 1000, now)) == expected


@given(
    st.sampled_from([CatchUp.FIRE_ALL, CatchUp.COALESCE, CatchUp.SKIP]),
    st.integers(1, 50),
    st.lists(st.integers(0, 400), min_size=1, max_size=20),
)
def test_a86_no_occurrence_is_lost_or_doubled_or_early(policy: CatchUp, interval: int, pauses: list[int]) -> None:
    """A86, P3: what fires and what is reported as missed are together every occurrence up to the last, in phase."""
    due, now, missed = 1000, 1000, 0
    accounted = 0
    for pause in pauses:
        now += pause
        while due <= now:
            firing = plan_firing(Row(interval, policy, missed=missed), due, now)
            assert firing.due_value <= now or not firing.run
            assert (firing.due_value - 1000) % interval == 0
            if firing.run:
                accounted += 1 + firing.missed
                missed = 0
            else:
                missed = firing.missed
            assert firing.next_due is not None
            assert (firing.next_due - 1000) % interval == 0
            due = firing.next_due
    assert accounted + missed == (due - 1000) // interval
    if policy is CatchUp.COALESCE:
        assert due > now


def test_rows_without_the_optional_columns() -> None:
    """A scheduled table may have two columns only."""
    bench = Bench()
    key = bench.do(lambda: bench.plain.insert(scheduled_at=7)).scheduled_id
    row = bench.plain.require(key)
    assert clock_of(row) == "wall"
    assert is_pending(row)
    assert plan_firing(row, 7, 1000) == (True, 7, 0, None)


# -- against a list --------------------------------------------------------------------------------

_due = st.one_of(st.integers(0, 50), st.integers(0, 5 * SECOND), st.sampled_from([0, 1 << 20, (1 << 20) - 1, 1 << 40]))
_step = st.one_of(
    st.tuples(st.just("add"), _due, st.integers(0, 3)),
    st.tuples(st.just("move"), st.integers(1, 30), _due),
    st.tuples(st.just("delete"), st.integers(1, 30), st.none()),
    st.tuples(st.just("cancel"), st.integers(1, 30), st.booleans()),
    st.tuples(st.just("advance"), st.integers(0, 2 * SECOND), st.none()),
    st.tuples(st.just("rebuild"), st.none(), st.none()),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_step, max_size=60))
def test_req2_timers_are_the_table_in_order(steps: list[tuple[Any, ...]]) -> None:
    """REQ-2: every pending row fires once, in order, never early, and is never missed by ``next_due``."""
    bench = Bench()
    now = 0
    for name, first, second in steps:
        if name == "add":
            bench.add(first, priority=second)
        elif name == "move" and first in bench.bells:
            bench.do(lambda f=first, s=second: bench.bells.update(f, scheduled_at=s))
        elif name == "delete":
            bench.do(lambda f=first: bench.bells.delete(f))
        elif name == "cancel" and first in bench.bells:
            bench.do(lambda f=first, s=second: bench.bells.update(f, cancelled=s))
        elif name == "rebuild":
            bench.timers.load(bench.store)
        elif name == "advance":
            now += first
            due = sorted(
                (r.scheduled_at, r.priority, r.scheduled_id)
                for r in bench.bells
                if not r.cancelled and r.scheduled_at <= now
            )
            assert bench.drain(now) == [key for _, _, key in due]
        pending = {("bell", r.scheduled_id): r.scheduled_at for r in bench.bells if not r.cancelled}
        next_due = bench.timers.next_due()
        assert bench.timers.pending() == pending
        if pending:
            assert next_due is not None
            assert next_due <= min(pending.values())
