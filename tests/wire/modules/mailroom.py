"""A module whose workflows have letters sent by workers."""

from __future__ import annotations

import msgspec

from reactor import Module, primary_key
from workflows import Handler, NoPayload, Workflow, WorkflowEngine
from workflows.handle import TaskEnd


class LetterState(msgspec.Struct):
    """What a letter has heard."""

    ends: list[list[str | int | None]] = []


class Letter(Handler[LetterState]):
    """Has itself sent, notes each end it is told of in a table, and is done."""

    name = "letter"

    def on_start(self, w: Workflow[LetterState], payload: NoPayload) -> None:
        w.ctx.tasks.put("mail", "send", {"letter": w.id}, key=f"letter-{w.id}", workflow_id=w.id)

    def on_task_end(self, w: Workflow[LetterState], task: TaskEnd) -> None:
        w.db.heard.insert(workflow_id=w.id, status=task.status, result=task.result)
        w.complete()


mailroom = Module("mailroom", includes=[WorkflowEngine(types=[Letter])])


@mailroom.table(public=True)
class Heard:
    """An end a letter was told of."""

    id: int = primary_key(auto=True)
    workflow_id: int
    status: str
    result: str | None
