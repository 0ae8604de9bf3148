"""A workflow type that has letters sent, and a worker's side of it without a socket."""

from __future__ import annotations

from typing import Any

import msgspec

from reactor import seconds
from reactor.testing import Rig, RigClient
from workflows import Handler, Payload, Workflow
from workflows.handle import TaskEnd

QUEUE = "mail"
LEASE_US = seconds(30)


class MailStart(Payload):
    letters: int = 1
    patience: int = 1
    options: dict[str, int] = {}


class MailState(msgspec.Struct):
    ends: list[list[Any]] = []
    patience: int = 1


class Mail(Handler[MailState]):
    """Puts letters into the queue and is done when it has heard of ``patience`` ends; nothing else wakes it."""

    name = "mail"
    clock = "wall"

    def on_start(self, w: Workflow[MailState], payload: MailStart) -> None:
        w.step = "sending"
        w.state = MailState(patience=payload.patience)
        for number in range(payload.letters):
            w.ctx.tasks.put(QUEUE, "send", {"letter": number}, workflow_id=w.id, pointer_id=number, **payload.options)

    def on_task_end(self, w: Workflow[MailState], task: TaskEnd) -> None:
        w.state.ends.append([task.id, task.status, task.result, task.error_message, task.attempt, task.pointer_id])
        if len(w.state.ends) == w.state.patience:
            w.complete(w.state.ends)


class Postman:
    """A worker with a session of its own."""

    def __init__(self, rig: Rig, number: int = 1, slots: int | None = 4, queue: str = QUEUE) -> None:
        self.rig = rig
        self.queue = queue
        self.client: RigClient = rig.connect(f"{number:032x}", is_owner=False)
        if slots is not None:
            self.ok("task_worker_hello", queue, slots)

    def ask(self, reducer: str, *args: Any) -> dict[str, Any]:
        """The whole answer."""
        return self.client.ask(call=reducer, args=list(args))

    def ok(self, reducer: str, *args: Any) -> Any:
        """The value of an answer that is not an error."""
        answer = self.ask(reducer, *args)
        if "error" in answer:
            raise AssertionError(answer["error"])
        return answer["ok"]

    def code(self, reducer: str, *args: Any) -> str:
        """The error code of an answer."""
        return str(self.ask(reducer, *args)["error"]["code"])

    def claim(self, limit: int = 1, lease_us: int = LEASE_US) -> list[dict[str, Any]]:
        """Take tasks."""
        claimed: list[dict[str, Any]] = self.ok("task_claim", self.queue, limit, lease_us)
        return claimed

    def claim_one(self, lease_us: int = LEASE_US) -> tuple[int, str]:
        """Take the one task that must be there: its id and token."""
        (task,) = self.claim(1, lease_us)
        return task["id"], task["token"]


def put(rig: Rig, name: str = "send", payload: Any = None, **options: Any) -> int:
    """Put a task that belongs to no workflow."""
    task_id: int = rig.run(lambda ctx: ctx.tasks.put(QUEUE, name, payload, **options))
    return task_id


def total(rig: Rig, what: str, queue: str = QUEUE) -> int:
    """A total of the queue."""
    return int(getattr(rig.row("task_queue_total", queue), what))


def outcomes(rig: Rig, task_id: int) -> list[str]:
    """How the deliveries of a task went, in order."""
    return [str(row.outcome) for row in rig.rows("task_attempt") if row.task_id == task_id]
