"""The asyncio worker against a real database on a simulated clock: every way a task can go, and a line be lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from client import BadRequest, CallFailed, ConnectionLost, Fatal, Retry, Task, Unavailable, Worker
from client.worker import watched
from reactor import seconds
from tests.client.postoffice import QUEUE, Handler, Line, Office, run


async def hire(office: Office, handler: Handler, number: int = 1, slots: int = 2, lease_s: float = 9.0) -> Worker:
    """A worker that has looked for tasks."""
    worker = Worker(Line(office, number), QUEUE, handler, slots=slots, lease_s=lease_s, sleep=office.sleep)
    await worker.start()
    await office.settle()
    return worker


def line(worker: Worker) -> Line:
    """Its connection."""
    assert isinstance(worker._connection, Line)
    return worker._connection


class Desk:
    """A handler that waits until it is told what to return or raise."""

    def __init__(self) -> None:
        self.begun: list[Task] = []
        self.stopped: list[int] = []
        self._answers: dict[int, asyncio.Future[Any]] = {}

    async def __call__(self, task: Task) -> Any:
        self.begun.append(task)
        self._answers[task.id] = asyncio.get_running_loop().create_future()
        try:
            return await self._answers[task.id]
        except asyncio.CancelledError:
            self.stopped.append(task.id)
            raise

    def finish(self, task_id: int, result: Any = None) -> None:
        """Let it return."""
        self._answers[task_id].set_result(result)

    def fail(self, task_id: int, error: Exception) -> None:
        """Let it raise."""
        self._answers[task_id].set_exception(error)


def test_it_does_what_is_there_and_what_comes() -> None:
    """D30: no more than its slots at once; the next as soon as one is free; woken at once when it is idle."""

    async def script(office: Office) -> None:
        for number in range(3):
            office.put(payload={"number": number}, key=f"k{number}")
        desk = Desk()
        worker = await hire(office, desk)
        assert [(task.id, task.payload, task.key, task.attempt) for task in desk.begun] == [
            (1, {"number": 0}, "k0", 1), (2, {"number": 1}, "k1", 1),
        ]  # fmt: skip
        assert [task.id for task in worker.tasks] == [1, 2]
        desk.finish(2, {"sent": 2})
        await office.settle()
        assert [task.id for task in desk.begun] == [1, 2, 3]
        desk.finish(1)
        desk.finish(3, 3)
        await office.settle()
        assert office.results() == [None, '{"sent":2}', "3"]
        assert (worker.finished, worker.tasks) == (3, [])
        claims = len(line(worker).calls)
        office.put()
        await office.settle()
        assert [task.id for task in desk.begun] == [1, 2, 3, 4]
        assert len(line(worker).calls) == claims + 1
        desk.finish(4)
        await worker.stop()
        assert office.rig.rows("task_worker") == []

    run(script)


def test_a_long_task_is_held() -> None:
    """C27: heartbeats at a third of the lease hold it for as long as it takes, and the worker never goes stale."""

    async def script(office: Office) -> None:
        office.put()
        desk = Desk()
        worker = await hire(office, desk, lease_s=6.0)
        await office.advance(100)
        assert office.outcomes() == ["Running"]
        beats = [call for call in line(worker).calls if call[0] == "task_heartbeat"]
        assert len(beats) == 50
        assert [row.stale for row in office.rig.rows("task_worker")] == [False]
        desk.finish(1, "at last")
        await office.settle()
        assert (office.outcomes(), office.results()) == (["Completed"], ['"at last"'])
        await worker.stop()

    run(script)


def test_a_long_lease_does_not_make_a_worker_stale() -> None:
    """D30: it says hello three times within the server's threshold, however long its leases are."""

    async def script(office: Office) -> None:
        worker = await hire(office, Desk(), lease_s=3_600.0)
        await office.advance(200)
        assert [row.stale for row in office.rig.rows("task_worker")] == [False]
        assert 19 <= len([call for call in line(worker).calls if call[0] == "task_worker_hello"]) <= 22
        await worker.stop()

    run(script)


def test_what_a_handler_may_raise() -> None:
    """D100: ``Retry`` says when, ``Fatal`` that it is over, anything else leaves it to the server."""

    async def script(office: Office) -> None:
        for _ in range(3):
            office.put(backoff_us=seconds(2), attempts_max=2)
        desk = Desk()
        worker = await hire(office, desk, slots=3)
        now = office.rig.clock.now()
        desk.fail(1, Retry("busy", after_s=5.5))
        desk.fail(2, Fatal("no such address"))
        desk.fail(3, KeyError("street"))
        await office.settle()
        rows = office.rig.rows("task")
        assert [row.not_before for row in rows] == [now + seconds(5.5), None, now + seconds(2)]
        assert office.statuses() == ["Delayed", "Failed", "Delayed"]
        errors = [row.error for row in office.rig.rows("task_attempt")]
        assert errors == ["busy", "no such address", "KeyError: 'street'"]
        await office.advance(6)
        assert [(task.id, task.attempt) for task in desk.begun[3:]] == [(3, 2), (1, 2)]
        desk.fail(3, Retry())
        desk.finish(1)
        await office.settle()
        assert office.statuses() == ["Completed", "Failed", "Failed"]
        await worker.stop()

    run(script)


def test_a_task_that_was_cancelled_is_dropped() -> None:
    """D70: the next heartbeat tells; the handler is interrupted and its slot is free again."""

    async def script(office: Office) -> None:
        office.put(), office.put()
        desk = Desk()
        worker = await hire(office, desk, slots=1)
        office.rig.call("task_cancel", 1, "nobody wants it")
        await office.advance(3)
        assert desk.stopped == [1]
        assert [task.id for task in desk.begun] == [1, 2]
        assert office.statuses() == ["Cancelled", "Leased"]
        desk.finish(2)
        await worker.stop()
        assert (office.statuses(), worker.finished) == (["Cancelled", "Completed"], 1)

    run(script)


def test_a_short_loss_of_the_line_costs_nothing() -> None:
    """A35, C27: back before the lease is over, it goes on, and its task is delivered once."""

    async def script(office: Office) -> None:
        office.put()
        desk = Desk()
        worker = await hire(office, desk)
        line(worker).cut()
        assert office.rig.rows("task_worker") == []
        await office.advance(5)
        line(worker).mend()
        await office.settle()
        (row,) = office.rig.rows("task_worker")
        assert office.rig.rows("task_attempt")[0].worker_id == row.id
        line(worker).cut()
        line(worker).mend()
        await office.settle()
        (again,) = office.rig.rows("task_worker")
        assert office.rig.rows("task_attempt")[0].worker_id == again.id != row.id
        desk.finish(1, "done")
        office.put()
        await office.settle()
        assert office.outcomes() == ["Completed", "Running"]
        desk.finish(2)
        await worker.stop()

    run(script)


@pytest.mark.parametrize("finishes_meanwhile", [True, False])
def test_a_long_loss_gives_the_task_to_another(finishes_meanwhile: bool) -> None:
    """C27, D57, D100: the lease lapses, another does it; what the first says on coming back is ignored, and noted."""

    async def script(office: Office) -> None:
        office.put()
        lost_desk, desk = Desk(), Desk()
        lost = await hire(office, lost_desk, 1)
        line(lost).cut()
        other = await hire(office, desk, 2)
        assert desk.begun == []
        await office.advance(9)
        assert [(task.id, task.attempt, task.redeliveries) for task in desk.begun] == [(1, 1, 1)]
        assert desk.begun[0].token != lost_desk.begun[0].token
        if finishes_meanwhile:
            lost_desk.finish(1, "first")
            await office.settle()
        line(lost).mend()
        await office.settle()
        assert lost_desk.stopped == ([] if finishes_meanwhile else [1])
        assert lost.tasks == []
        desk.finish(1, "second")
        await office.settle()
        assert (office.results(), office.outcomes()) == (['"second"'], ["Lapsed", "Completed"])
        assert (office.total("redelivered"), office.total("ignored")) == (1, int(finishes_meanwhile))
        await lost.stop()
        await other.stop()

    run(script)


@pytest.mark.parametrize("reducer", ["task_complete", "task_fail", "task_claim", "task_heartbeat", "task_worker_hello"])
def test_an_answer_that_never_came(reducer: str) -> None:
    """P5: what was said is said again and counts once; what was claimed in vain comes back when its lease is over."""

    async def script(office: Office) -> None:
        desk = Desk()
        worker = await hire(office, desk)
        line(worker).trouble.append((reducer, ConnectionLost("in doubt")))
        office.put()
        await office.advance(20)
        (begun,) = desk.begun
        if reducer == "task_fail":
            desk.fail(1, Fatal("no"))
        else:
            desk.finish(1, "yes")
        await office.settle()
        assert office.results() == (["no"] if reducer == "task_fail" else ['"yes"'])
        assert worker.finished == 1
        assert begun.redeliveries == (1 if reducer == "task_claim" else 0)
        assert line(worker).trouble == []
        await worker.stop()

    run(script)


def test_a_server_that_cannot_write_is_asked_again() -> None:
    """P5: a result is not lost because the disk was full for a moment."""

    async def script(office: Office) -> None:
        office.put()
        desk = Desk()
        worker = await hire(office, desk)
        line(worker).trouble += [("task_complete", Unavailable("read_only", "no"))] * 3
        desk.finish(1, "kept")
        await office.settle()
        assert office.statuses() == ["Leased"]
        await office.advance(3)
        assert office.results() == ['"kept"']
        await worker.stop()

    run(script)


@pytest.mark.parametrize("result", [object(), "x" * 400_000])
def test_a_result_that_cannot_be_kept_fails_the_task(result: Any) -> None:
    """P7: doing it again would do the effect again, and the result would be the same."""

    async def script(office: Office) -> None:
        office.put()
        desk = Desk()
        worker = await hire(office, desk)
        desk.finish(1, result)
        await office.settle()
        assert office.statuses() == ["Failed"]
        assert office.results()[0].startswith("the result was refused: ")
        await worker.stop()

    run(script)


def test_stopping_finishes_what_was_begun() -> None:
    """It takes nothing new, waits for what it has in hand, and says goodbye."""

    async def script(office: Office) -> None:
        office.put(), office.put()
        desk = Desk()
        worker = await hire(office, desk, slots=1)
        stopping = asyncio.create_task(worker.stop())
        waiting = asyncio.create_task(worker.wait())
        await office.settle()
        assert not stopping.done()
        desk.finish(1)
        await stopping
        await waiting
        assert office.statuses() == ["Completed", "Ready"]
        assert office.rig.rows("task_worker") == []
        await worker.stop()

    run(script)


def test_stopping_in_a_hurry_gives_the_rest_back() -> None:
    """D57: another worker has it at once, as if it had never been claimed."""

    async def script(office: Office) -> None:
        office.put()
        desk, other_desk = Desk(), Desk()
        async with await hire(office, desk, 1) as worker:
            await worker.stop(grace_s=0)
            assert desk.stopped == [1]
        assert (office.statuses(), office.outcomes()) == (["Ready"], ["Released"])
        other = await hire(office, other_desk, 2)
        assert [(task.id, task.attempt, task.redeliveries) for task in other_desk.begun] == [(1, 1, 0)]
        other_desk.finish(1)
        await other.stop()
        assert (worker.finished, other.finished) == (0, 1)

    run(script)


def test_a_connection_that_is_given_up_ends_the_worker() -> None:
    """Nothing is left running, and nothing is said any more."""

    async def script(office: Office) -> None:
        office.put()
        desk = Desk()
        worker = await hire(office, desk)
        line(worker).close()
        await worker.wait()
        await office.settle()
        assert desk.stopped == [1]
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await worker.stop()

    run(script)


def test_a_worker_that_is_not_wanted() -> None:
    """D84: the first hello is refused, and ``work`` raises it."""

    async def script(office: Office) -> None:
        connection = Line(office, 1)
        connection.trouble.append(("task_worker_hello", CallFailed("forbidden", "not you")))
        worker = Worker(connection, QUEUE, Desk(), slots=1, lease_s=9, sleep=office.sleep)
        with pytest.raises(CallFailed, match="not you"):
            await worker.start()

    run(script)


def test_troubles_while_claiming_pass() -> None:
    """P7: an error in claiming, in a heartbeat or a hello is logged, and the worker goes on."""

    async def script(office: Office) -> None:
        desk = Desk()
        worker = await hire(office, desk)
        for reducer in ("task_claim", "task_heartbeat", "task_worker_hello"):
            line(worker).trouble.append((reducer, CallFailed("internal", "a defect")))
        office.put()
        await office.advance(8)
        assert office.statuses() == ["Leased"]
        desk.finish(1)
        await worker.stop()
        assert office.statuses() == ["Completed"]

    run(script)


def test_what_a_worker_watches() -> None:
    """Names of queues are quoted."""
    assert watched("it's") == "SELECT * FROM task_queue WHERE name = 'it''s'"
    assert issubclass(BadRequest, Exception)
