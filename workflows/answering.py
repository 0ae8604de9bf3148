"""Updates and queries: what others ask a workflow, and it answers.

An update is a step that replies. What may refuse it is asked first, and may change nothing. An update that fails is
undone, and the workflow goes on as if it had not been asked. A query reads, and changes nothing: it is run under a
savepoint that is always undone, and one that has changed something is told so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import msgspec

from reactor.context import Context
from reactor.errors import Fault, SenderError
from workflows.definition import Definition, Query, Update
from workflows.handle import Cause, Workflow
from workflows.life import PENDING, is_awake
from workflows.steps import Steps


class RejectedError(SenderError):
    """An update that its validator refused; nothing has been written."""


class Answering:
    """Asks workflows."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    # -- updates -------------------------------------------------------------------------------

    def update(self, ctx: Context, workflow_id: int, name: str, payload: Any) -> Any:
        """Run an update of a workflow that is awake and return its reply.

        ``SenderError``: ``unknown_workflow``, ``not_active``, ``not_awake``, ``unknown_type``, ``unknown_update``,
        ``bad_arguments``, ``payload_too_large``, or what the validator or the handler raised. Whatever it raises,
        nothing is written and the workflow is as it was.
        """
        row, kind, declared, given = self.read(ctx, workflow_id, name, payload)
        if not is_awake(row.status):
            refuse_asleep(row)
        self.validate(ctx, row, kind, name, declared, given)
        return self.run(ctx, row, kind, name, declared, given)

    def read(self, ctx: Context, workflow_id: int, name: str, payload: Any) -> tuple[Any, Definition, Update, Any]:
        """The workflow's row, its type, the declared update and the payload decoded; raises as ``update``."""
        row = self._idle_row(ctx, workflow_id, self._steps.live_row)
        kind = self._steps.registry.require(row.workflow_type)
        declared = kind.updates.get(name)
        if declared is None:
            refuse_unknown(kind, "update", name, list(kind.updates))
        return row, kind, declared, declared.reader.read(payload, self._steps.limits.payload_bytes_max)

    def validate(self, ctx: Context, row: Any, kind: Definition, name: str, declared: Update, given: Any) -> None:
        """Ask the validator, if there is one; ``RejectedError`` if it refuses."""
        if declared.validate is None:
            return
        try:
            self._look(ctx, row, kind, f"validate_{name}", declared.validate, given)
        except SenderError as error:
            raise RejectedError(error.code, error.message, **error.details) from error

    def run(self, ctx: Context, row: Any, kind: Definition, name: str, declared: Update, given: Any) -> Any:
        """Run the update as a step and return its reply; what it raises is raised, and then it is undone."""
        replies: list[Any] = []

        def step(w: Workflow[Any], payload: Any) -> None:
            replies.append(declared.run(w, payload))

        with ctx.savepoint():
            self._steps.attempt(ctx, row, kind, step, given, Cause("update", name))
            return msgspec.to_builtins(replies[0])

    # -- queries -------------------------------------------------------------------------------

    def query(self, ctx: Context, workflow_id: int, name: str, payload: Any) -> Any:
        """Ask a workflow something, also one that has ended, and return its answer. It reads and changes nothing.

        ``SenderError``: ``unknown_workflow``, ``not_awake`` (a step of it is open), ``not_started`` (its start is put
        off, or has failed), ``unknown_type``, ``unknown_query``, ``bad_arguments``, ``payload_too_large``, or what the
        handler raised. ``Fault`` ``internal`` if the handler's method changes something.
        """
        row = self._idle_row(ctx, workflow_id, _known_row)
        kind = self._steps.registry.require(row.workflow_type)
        declared: Query | None = kind.queries.get(name)
        if declared is None:
            refuse_unknown(kind, "query", name, list(kind.queries))
        given = declared.reader.read(payload, self._steps.limits.payload_bytes_max)
        if not has_begun(row, kind):
            _refuse_unbegun(row)
        return msgspec.to_builtins(self._look(ctx, row, kind, f"query_{name}", declared.run, given))

    def _look(
        self, ctx: Context, row: Any, kind: Definition, method: str, function: Callable[[Any, Any], Any], given: Any
    ) -> Any:
        """Run a method that may change nothing. ``Fault`` ``internal`` if it does."""
        w: Workflow[Any] = Workflow(ctx, kind, row.id)
        w.take(row, kind.read_state(row))
        before = (kind.encode_state(w.state), w.step)
        self._steps.enter(w)
        try:
            with ctx.rehearsal() as tried:
                answer = function(w, given)
                after, ending, asked = (kind.encode_state(w.state), w.step), w.ending, bool(w.deferred)
        finally:
            del self._steps.open[row.id]
        changed = [*tried.changed, *(["its state"] if after != before else [])]
        if changed or ending is not None or asked:
            what = ", ".join(changed) or "workflows"
            raise Fault(
                "internal",
                f"{method} of workflow type {kind.name} may only read, but it changed {what}; nothing of it was kept. "
                "Make it an update",
            )
        return answer

    def _idle_row(self, ctx: Context, workflow_id: int, find: Callable[[Context, int], Any]) -> Any:
        if workflow_id in self._steps.open:
            raise SenderError("not_awake", f"a step of workflow {workflow_id} is open, so it cannot answer now")
        return find(ctx, workflow_id)


def _known_row(ctx: Context, workflow_id: int) -> Any:
    row = ctx.db.workflow.get(workflow_id)
    if row is None:
        raise SenderError("unknown_workflow", f"there is no workflow {workflow_id}", workflow_id=workflow_id)
    return row


def has_begun(row: Any, kind: Definition) -> bool:
    """Whether the workflow's ``on_start`` has been done, so that there is a state to look at."""
    return row.status is not PENDING and (row.state != "null" or kind.state_type is None)


def _refuse_unbegun(row: Any) -> NoReturn:
    """Raise ``SenderError`` ``not_started`` for a workflow that has no state yet, or never had one."""
    why = "its start is put off; ask again when it has begun"
    if row.status is not PENDING:
        why = f"its start has failed: {row.error_message}"
        why += ". Start another one" if row.ended_at is not None else ". Ask again when it was retried"
    raise SenderError(
        "not_started",
        f"workflow {row.id} has no state to be asked about: {why}",
        workflow_id=row.id,
        status=str(row.status),
    )


def refuse_asleep(row: Any) -> NoReturn:
    """Raise ``SenderError`` ``not_awake`` for a workflow that can take no step now."""
    raise SenderError(
        "not_awake",
        f"workflow {row.id} is {row.status} and cannot answer now; send the update with an update_id, and it is done "
        "when the workflow wakes",
        workflow_id=row.id,
        status=str(row.status),
    )


def refuse_unknown(kind: Definition, what: str, name: str, known: list[str]) -> NoReturn:
    """Raise ``SenderError`` ``unknown_update`` or ``unknown_query``."""
    takes = f"it takes {', '.join(known)}" if known else "it takes none"
    message = f"workflow type {kind.name} declares no {what} {name!r}; {takes}"
    raise SenderError("unknown_update" if what == "update" else "unknown_query", message, name=name, known=known)
