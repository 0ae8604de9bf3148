"""Waiting for others: signals, events, children and tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from reactor.errors import ReactorError, SenderError
from workflows.handle import ChildEnd, EventSeen, TaskEnd
from workflows.life import COMPLETED, is_live
from workflows.messages import take
from workflows.scripts.errors import ChildFailedError, TaskFailedError
from workflows.scripts.operations import Live, Node, Operation, to_json
from workflows.scripts.tables import PointerStatus

_decode = msgspec.json.decode


class SignalWait(Operation):
    """The oldest signal of a name that has not been taken yet, or else the next one."""

    kind = "signal"
    __slots__ = ("_read",)

    def __init__(self, label: str, read: Callable[[str], Any]) -> None:
        super().__init__(label)
        self._read = read

    def begin(self, live: Live, node: Node) -> None:
        """It may have been sent before anybody waited for it."""
        message = take(live.w.ctx, live.w.id, self.label)
        if message is None:
            live.wait(node, PointerStatus.WAITING, event_name=self.label)
        else:
            live.at_once(node, ref=message.id, **self._taken(message.payload))

    def arrived(self, live: Live, node: Node) -> None:
        """A signal of its name has been stored."""
        message = take(live.w.ctx, live.w.id, self.label)
        if message is not None:
            live.done(node, ref=message.id, **self._taken(message.payload))

    def _taken(self, payload: str) -> dict[str, Any]:
        try:
            self._read(payload)
        except msgspec.MsgspecError as error:
            # Stored under an older declaration, which this one cannot read.
            return {"status": PointerStatus.FAILED, "error": f"signal {self.label}: {error}", "data": payload}
        return {"outcome": payload}

    def value(self, pointer: Any) -> Any:
        """The payload, as the type declares it."""
        return super().value(pointer) if pointer.status is PointerStatus.FAILED else self._read(pointer.outcome)

    def token(self) -> str:
        """The name of the signal."""
        return self.label


class EventWait(Operation):
    """A published event of a name and key, from an instant on."""

    kind = "event"
    __slots__ = ("_as_of", "_key")

    def __init__(self, label: str, key: str, as_of: int | None) -> None:
        super().__init__(label)
        self._key = key
        self._as_of = as_of

    def begin(self, live: Live, node: Node) -> None:
        """Subscribe; an event that was published before is told when this step is over."""
        w, pointer_id = live.w, live.reserve()
        as_of = w.now if self._as_of is None else self._as_of
        w.ctx.events.wait(w, self.label, self._key, as_of=as_of, pointer_id=pointer_id)
        live.wait(node, PointerStatus.WAITING, event_name=self.label, event_key=self._key)

    def drop(self, live: Live, pointer: Any) -> None:
        """Nobody listens any more."""
        live.w.ctx.events.drop(live.w.id, pointer.id)

    def seen(self, live: Live, node: Node, event: EventSeen) -> None:
        """It was published."""
        live.done(node, outcome=to_json(event._asdict()), ref=event.id)

    def value(self, pointer: Any) -> Any:
        """The event's data."""
        event = _decode(pointer.outcome)
        return None if event["data"] is None else _decode(event["data"])

    def token(self) -> str:
        """Told apart from signals by its form."""
        return f"event:{self.label}"


class ChildRun(Operation):
    """A workflow that belongs to this one, until it ends."""

    kind = "child"
    __slots__ = ("_options",)

    def __init__(self, workflow_type: str, options: Mapping[str, Any]) -> None:
        super().__init__(workflow_type)
        self._options = options

    def begin(self, live: Live, node: Node) -> None:
        """Start it; its end is told when this step is over at the earliest."""
        w = live.w
        try:
            with w.ctx.savepoint():
                child_id = w.start_child(self.label, **self._options)
        except ReactorError as error:
            refusal = {"id": None, "status": "refused", "message": f"{error.code}: {error.message}"}
            live.at_once(node, status=PointerStatus.FAILED, error=to_json(refusal))
            return
        live.wait(node, PointerStatus.WAITING, ref=child_id)

    def drop(self, live: Live, pointer: Any) -> None:
        """Its result is of no use any more."""
        ctx = live.w.ctx
        child = ctx.db.workflow.get(pointer.ref)
        if child is not None and is_live(child.status):
            ctx.workflows.cancel(child.id, f"workflow {live.w.id} goes on without it")

    def ended(self, live: Live, node: Node, child: ChildEnd) -> None:
        """It has ended."""
        if child.status is COMPLETED:
            live.done(node, outcome=child.result)
        else:
            end = {"id": child.id, "status": child.status, "message": child.error_message or ""}
            live.done(node, status=PointerStatus.FAILED, error=to_json(end))

    def value(self, pointer: Any) -> Any:
        """Its result."""
        if pointer.status is not PointerStatus.FAILED:
            return super().value(pointer)
        end = _decode(pointer.error)
        raise ChildFailedError(f"child {self.label}: {end['status']}: {end['message']}", end["status"], end["id"])

    def token(self) -> None:
        """The child wakes it."""
        return


class TaskRun(Operation):
    """Something a worker outside does."""

    kind = "task"
    __slots__ = ("_options", "_payload", "_queue")

    def __init__(self, queue: str, label: str, payload: Any, options: Mapping[str, Any]) -> None:
        super().__init__(label)
        self._queue = queue
        self._payload = payload
        self._options = options

    def begin(self, live: Live, node: Node) -> None:
        """Put it in its queue."""
        w, pointer_id = live.w, live.reserve()
        try:
            task_id = w.ctx.tasks.put(
                self._queue, self.label, self._payload, workflow_id=w.id, pointer_id=pointer_id, **self._options
            )
        except SenderError as error:
            refusal = {"status": "refused", "message": f"{error.code}: {error.message}"}
            live.at_once(node, status=PointerStatus.FAILED, error=to_json(refusal), event_name=self._queue)
            return
        live.wait(node, PointerStatus.WAITING, event_name=self._queue, ref=task_id, data=to_json(self._payload))

    def drop(self, live: Live, pointer: Any) -> None:
        """Nobody wants it any more."""
        live.w.ctx.tasks.cancel(pointer.ref, f"workflow {live.w.id} goes on without it")

    def ended(self, live: Live, node: Node, task: TaskEnd) -> None:
        """A worker has done it, or nobody will."""
        if task.status == "completed":
            live.done(node, outcome=task.result, attempt=task.attempt)
        else:
            end = {"status": task.status, "message": task.error_message or ""}
            live.done(node, status=PointerStatus.FAILED, error=to_json(end), attempt=task.attempt)

    def value(self, pointer: Any) -> Any:
        """The worker's result."""
        if pointer.status is not PointerStatus.FAILED:
            return super().value(pointer)
        end = _decode(pointer.error)
        raise TaskFailedError(f"task {self.label}: {end['status']}: {end['message']}", end["status"])

    def token(self) -> str:
        """The queue it waits in."""
        return f"task:{self._queue}"
