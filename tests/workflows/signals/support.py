"""Types that note what they are told, and an operator's pause by hand."""

from __future__ import annotations

from typing import Any

import msgspec

from reactor.testing import Rig
from workflows import ChildEnd, Handler, NoPayload, Payload, Signal, Timer, Workflow, WorkflowEngine
from workflows.handle import Cause, EventSeen, TaskEnd
from workflows.inbox import Inbox
from workflows.life import Status
from workflows.messages import take


class Note(Payload):
    text: str
    number: int = 0


class DiaryState(msgspec.Struct):
    told: list[Any] = []


class Diary(Handler[DiaryState]):
    """Notes everything it is told, in order."""

    name = "diary"
    signals = {"note": Note, "other": Note, "finish": NoPayload, "crash": NoPayload, "refuse": Note, "myself": Note}

    def on_start(self, w: Workflow[DiaryState], payload: NoPayload) -> None:
        w.step = "open"

    def on_signal(self, w: Workflow[DiaryState], signal: Signal) -> None:
        if signal.name == "finish":
            w.complete(w.state.told)
        elif signal.name == "crash":
            raise ZeroDivisionError("a defect")
        elif signal.name == "myself":
            w.workflows.signal(w.id, "note", text=signal.payload.text)
        else:
            w.state.told.append([signal.name, signal.payload.text])

    def on_child_end(self, w: Workflow[DiaryState], child: ChildEnd) -> None:
        w.state.told.append(["child", child.id, child.status])

    def on_task_end(self, w: Workflow[DiaryState], task: TaskEnd) -> None:
        w.state.told.append(["task", task.name, task.result])

    def on_event(self, w: Workflow[DiaryState], event: EventSeen) -> None:
        w.state.told.append(["event", event.name, event.key, event.data])


class ReaderStart(Payload):
    first: str = "note"


class ReaderState(msgspec.Struct):
    awaits: str | None
    told: list[str] = []


class Reader(Handler[ReaderState]):
    """Takes stored signals one at a time, of the name it asks for, as a script does; ``next`` changes the name."""

    name = "reader"
    clock = "wall"
    signals = {"note": Note, "other": Note, "next": ReaderStart, "finish": NoPayload}

    def on_start(self, w: Workflow[ReaderState], payload: ReaderStart) -> None:
        w.state = ReaderState(payload.first)

    def on_signal(self, w: Workflow[ReaderState], signal: Signal) -> None:
        raise AssertionError("its signals are stored")

    def on_message(self, w: Workflow[ReaderState], name: str) -> None:
        message = take(w.ctx, w.id, name)
        assert message is not None
        w.state.told.append(f"{name}:{message.payload}")

    def on_timer(self, w: Workflow[ReaderState], timer: Timer) -> None:
        while (message := take(w.ctx, w.id, "note")) is not None:
            w.state.told.append(f"late:{message.payload}")


def reading(rig: Rig) -> Rig:
    """Make ``reader`` a type whose signals are stored."""
    engine = rig.module
    assert isinstance(engine, WorkflowEngine)
    kind = engine.registry.require("reader")
    kind.stores_signals = True
    kind.waits = "note"
    return rig


def pause(rig: Rig, workflow_id: int, status: Status = Status.PAUSED) -> None:
    """Stop a workflow as an operator or a failure does; Pending is planted."""
    control = _dispatcher(rig).control

    def run(ctx: Any) -> None:
        row = ctx.db.workflow.require(workflow_id)
        if status is Status.PAUSED:
            control.suspend(ctx, workflow_id, "a test")
        elif status is Status.FAULTED:
            control.faults.park(ctx, row, Cause("step"), "a test", "application")
        else:
            ctx.db.workflow.update(workflow_id, status=status)

    rig.run(run)


def wake(rig: Rig, workflow_id: int) -> None:
    """The workflow is awake again, and what was held is delivered in the same commit."""
    dispatcher = _dispatcher(rig)

    def run(ctx: Any) -> None:
        dispatcher.control.faults.unpark(ctx, workflow_id)
        columns = {"status": Status.SUSPENDED, "failure_category": None, "error_message": None}
        dispatcher.signalling.deliver_held(ctx, ctx.db.workflow.update(workflow_id, **columns))

    rig.run(run)


def _dispatcher(rig: Rig) -> Any:
    engine = rig.module
    assert isinstance(engine, WorkflowEngine)
    return engine.part(Inbox).dispatcher


def told(rig: Rig, workflow_id: int) -> list[Any]:
    """What the workflow noted."""
    noted: list[Any] = msgspec.json.decode(rig.row("workflow", workflow_id).state)["told"]
    return noted


def stored(rig: Rig) -> dict[str, list[Any]]:
    """Every row of every table, but for the log of commands, which has the refused ones too."""
    tables = rig.engine.store.tables
    return {name: list(table) for name, table in tables.items() if name not in ("command_log", "reactor_sequence")}
