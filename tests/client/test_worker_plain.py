"""The worker of plain scripts: one task after another on the caller's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from client import CallFailed, ConnectionLost, Fatal, Hand, Retry, State, StateChange, Unavailable
from client.worker import PlainWorker
from reactor import seconds
from tests.client.postoffice import QUEUE, Line, Office


class PlainLine(Line):
    """The same connection without ``await``; while it polls, time passes."""

    def call(self, reducer: str, *args: Any, key: str | None = None) -> Any:
        """Run a reducer."""
        return self.call_now(reducer, *args)

    def subscribe(self, queries: str, *, on_insert: Any = None, on_update: Any = None) -> PlainLine:  # type: ignore[override]
        """Watch a query."""
        self.watch_now(queries, on_insert, on_update)
        self.deliver()
        return self

    def unsubscribe(self) -> None:  # type: ignore[override]
        """Watch nothing any more."""

    def poll(self, timeout_s: float = 0.0) -> int:
        """Wait for something to come in."""
        rig = self.office.rig
        end = rig.clock.now() + round(timeout_s * 1e6)
        while not (count := self.deliver()) and rig.clock.now() < end:
            due = rig.host.next_due()
            rig.advance(max((end if due is None else min(due, end)) - rig.clock.now(), 0))
        return count


@pytest.fixture
def office() -> Iterator[Office]:
    made = Office()
    yield made
    made.rig.close()


def work(office: Office, handler: Callable[[Hand], Any], timeout_s: float = 60.0, **more: Any) -> tuple[int, PlainLine]:
    """Work for that long; what was done, and the line it was done over."""
    line = more.pop("line", None) or PlainLine(office, 1)
    until = more.pop("until", lambda: False)
    worker = PlainWorker(
        line, QUEUE, handler, lease_s=9.0, local_us=office.rig.clock.now,
        sleep=lambda s: office.rig.advance(round(s * 1e6)),
    )  # fmt: skip
    return worker.run(until, timeout_s), line


def test_one_after_another(office: Office) -> None:
    """A26: what is there, then what comes; each with its result; it is a worker with one slot."""
    office.put(payload=1), office.put(payload=2), office.put(payload=3, delay_us=seconds(20))
    seen = []

    def double(hand: Hand) -> int:
        seen.append((hand.task.payload, office.rig.clock.now(), [row.slots for row in office.rig.rows("task_worker")]))
        return int(hand.task.payload) * 2

    begin = office.rig.clock.now()
    finished, line = work(office, double)
    assert finished == 3
    assert seen == [(1, begin, [1]), (2, begin, [1]), (3, begin + seconds(20), [1])]
    assert office.results() == ["2", "4", "6"]
    assert office.rig.rows("task_worker") == []
    claims = [call for call in line.calls if call[0] == "task_claim"]
    assert len(claims) <= 6


def test_until_says_when_to_stop(office: Office) -> None:
    """It is asked between two tasks."""
    for _ in range(5):
        office.put()
    seen: list[int] = []
    finished, _ = work(office, lambda hand: seen.append(hand.task.id), until=lambda: len(seen) == 2)
    assert (finished, seen) == (2, [1, 2])
    assert office.statuses() == ["Completed"] * 2 + ["Ready"] * 3


def test_a_long_task_beats(office: Office) -> None:
    """C27: nothing else renews the lease; without it the task is redelivered, and the result ignored."""
    office.put(), office.put()

    def slow(hand: Hand) -> str:
        for _ in range(4):
            office.rig.advance(seconds(5))
            if hand.task.id == 1:
                hand.beat()
        return "slow"

    finished, _ = work(office, slow, timeout_s=45.0)
    outcomes = [(row.task_id, str(row.outcome)) for row in office.rig.rows("task_attempt")]
    assert outcomes[:3] == [(1, "Completed"), (2, "Lapsed"), (2, "Lapsed")]
    assert office.total("ignored") == 2 and finished == 1


def test_what_a_handler_may_raise(office: Office) -> None:
    """D100: as for the other face."""
    for _ in range(3):
        office.put(attempts_max=2)
    told = {1: Retry("busy", after_s=5), 2: Fatal("never"), 3: KeyError("x")}

    def handle(hand: Hand) -> str:
        if hand.task.attempt == 1:
            raise told[hand.task.id]
        return "second time"

    finished, _ = work(office, handle)
    assert finished == 5
    assert office.results() == ['"second time"', "never", '"second time"']
    delays = {row.task_id: row.delay for row in office.rig.rows("task_attempt") if row.delay is not None}
    assert delays == {1: seconds(5), 3: seconds(1)}


@pytest.mark.parametrize("reducer", ["task_complete", "task_claim", "task_worker_hello"])
def test_an_answer_that_never_came(office: Office, reducer: str) -> None:
    """P5: said again, and counted once."""
    line = PlainLine(office, 1)
    office.put()

    def handle(hand: Hand) -> str:
        line.trouble.append((reducer, ConnectionLost("in doubt")))
        return "done"

    finished, _ = work(office, handle, line=line)
    assert finished == 1
    assert (office.results(), office.total("ignored")) == (['"done"'], 0)


def test_troubles_pass(office: Office) -> None:
    """A full disk is waited out; a result that is none fails the task; back on the line it says hello again."""
    line = PlainLine(office, 1)
    office.put(), office.put()

    def handle(hand: Hand) -> Any:
        if hand.task.id == 1:
            line.trouble.append(("task_complete", Unavailable("read_only", "no")))
            line.cut()
            line.mend()
            return "done"
        return object()

    hellos = len([call for call in line.calls if call[0] == "task_worker_hello"])
    finished, _ = work(office, handle, line=line, until=lambda: "Failed" in office.statuses())
    assert finished == 2 and hellos == 0
    assert office.statuses() == ["Completed", "Failed"]
    assert len([call for call in line.calls if call[0] == "task_worker_hello"]) >= 2
    assert StateChange(State.CONNECTED, "").state is State.CONNECTED


def test_a_worker_that_is_not_wanted(office: Office) -> None:
    """D84: the first hello is refused, and ``work`` raises it."""
    line = PlainLine(office, 1)
    line.trouble.append(("task_worker_hello", CallFailed("forbidden", "not you")))
    with pytest.raises(CallFailed, match="not you"):
        work(office, lambda hand: None, line=line)
