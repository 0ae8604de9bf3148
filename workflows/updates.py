"""The part of the engine that answers: the reducers for updates and queries, and what became of updates with an id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from reactor.budget import CallBudgetExceededError
from reactor.columns import Timestamp
from reactor.context import Context
from reactor.errors import Fault, ReactorError, SenderError
from reactor.module import Module
from reactor.schema import declare_table, primary_key
from workflows import messages
from workflows.answering import has_begun, refuse_asleep
from workflows.definition import Definition, Update
from workflows.dispatch import Dispatcher
from workflows.life import is_awake
from workflows.outcome import explain
from workflows.parts import Part
from workflows.start import names

UPDATES_MAX = 1_000
"""Updates remembered of one workflow; when there are more, the older half of the finished ones is forgotten."""

ACCEPTED, REJECTED, COMPLETED, FAILED = "accepted", "rejected", "completed", "failed"


class UpdateRow:
    """An update that came with an id of its sender's.

    ``outcome`` is ``accepted`` (the workflow does it when it wakes), ``completed`` or ``failed``. ``reply`` is JSON
    text; ``error_code`` and ``error_message`` say why it failed.
    """

    id: int = primary_key(auto=True)
    workflow_id: int
    name: str
    update_id: str
    digest: str
    outcome: str
    reply: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    sender: str | None = None
    accepted_at: Timestamp
    ended_at: Timestamp | None = None


# Private: a reply is for who has asked.
UPDATE_SCHEMA = declare_table(
    UpdateRow, name="workflow_update", indexes=["workflow_id"], unique=[("workflow_id", "name", "update_id")]
)


class Asked(NamedTuple):
    """An update, read and ready to run."""

    row: Any
    kind: Definition
    name: str
    declared: Update
    given: Any


class Updates(Part):
    """Updates and queries."""

    schemas = (UPDATE_SCHEMA,)

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__(dispatcher)
        self._answering = dispatcher.answering
        dispatcher.signalling.run_update = self._run_stored

    def declare(self, module: Module) -> None:
        """Add the reducers."""
        functions: tuple[Callable[..., Any], ...] = (
            self.workflow_update,
            self.attempt_workflow_update,
            self.workflow_update_result,
            self.workflow_query,
        )
        for function in functions:
            module.reducer(function)

    # -- reducers ------------------------------------------------------------------------------

    def workflow_query(self, ctx: Context, id: int | str, name: str, payload: Any = None) -> Any:
        """Ask a workflow, live or ended, and return its answer; nothing is changed and nothing is stored."""
        id = names.resolve(ctx, id)
        self._allow(ctx, id, "query")
        return self._answering.query(ctx, id, name, payload)

    def workflow_update(
        self, ctx: Context, id: int | str, name: str, payload: Any = None, update_id: str | None = None
    ) -> Any:
        """Let a workflow do something and reply; returns the reply. An update that fails is undone and raises.

        With an ``update_id`` the reply is kept: the same update sent again gets it and does nothing. For a workflow
        that can take no step now it is then stored, and null returned; ``workflow_update_result`` tells later.
        """
        found = self._command(ctx, id, name, payload, update_id)
        error = found.pop("error")
        if error is not None:
            raise (Fault if error["code"] == "internal" else SenderError)(error["code"], error["message"])
        return found["reply"]

    def attempt_workflow_update(
        self, ctx: Context, id: int | str, name: str, payload: Any = None, update_id: str | None = None
    ) -> dict[str, Any]:
        """As ``workflow_update``, but answers ``{"outcome", "reply", "error"}`` and raises only for a defect.

        ``outcome`` is ``completed``, ``accepted``, ``rejected`` (refused before anything was written; not kept) or
        ``failed`` (undone; kept if there is an ``update_id``).
        """
        try:
            return self._command(ctx, id, name, payload, update_id, keep_failed=True)
        except SenderError as error:
            if error.code == "forbidden":
                raise
            return {"outcome": REJECTED, "reply": None, "error": error.to_json()}

    def workflow_update_result(self, ctx: Context, id: int | str, name: str, update_id: str) -> dict[str, Any]:
        """What became of an update with an id: ``{"outcome", "reply", "error"}``; ``not_found`` if it is not known."""
        id = names.resolve(ctx, id)
        self._allow(ctx, id, "update")
        known = ctx.db.workflow_update.first(workflow_id=id, name=name, update_id=update_id)
        if known is None:
            raise SenderError("not_found", f"workflow {id} knows no update {name} with id {update_id!r}")
        return _shown(known)

    def _allow(self, ctx: Context, workflow_id: int, verb: str) -> None:
        row = ctx.db.workflow.get(workflow_id)
        if row is not None:
            self.dispatcher.allow(ctx, row, row.workflow_type, verb)

    def _command(
        self,
        ctx: Context,
        workflow: int | str,
        name: str,
        payload: Any,
        update_id: str | None,
        keep_failed: bool = False,
    ) -> dict[str, Any]:
        """As ``_attempt``, with the command log."""
        workflow_id, commands = names.resolve(ctx, workflow), self.dispatcher.commands
        try:
            found = self._attempt(ctx, workflow_id, name, payload, update_id, keep_failed)
        except SenderError:
            commands.refused(ctx, "update", workflow_id, reason=name)
            raise
        if commands.logs_starts:
            commands.note(ctx, "update", workflow_id, reason=name, detail=found["outcome"])
        return found

    # -- updates -------------------------------------------------------------------------------

    def _attempt(
        self, ctx: Context, workflow_id: int, name: str, payload: Any, update_id: str | None, keep_failed: bool = False
    ) -> dict[str, Any]:
        """``outcome``, ``reply`` and ``error``; a ``SenderError`` is raised for what is not accepted."""
        self._allow(ctx, workflow_id, "update")
        if update_id is None:
            return self._run_unkept(ctx, workflow_id, name, payload, keep_failed)
        messages.check_id("update_id", update_id)
        known = ctx.db.workflow_update.first(workflow_id=workflow_id, name=name, update_id=update_id)
        if known is not None:
            return self._again(ctx, known, payload)
        asked = Asked(*self._read(ctx, workflow_id, name, payload))
        if is_awake(asked.row.status):
            self._validate(ctx, asked)
            kept = self._keep(ctx, asked, update_id)
            return self._run_kept(ctx, asked, kept.id, raising=not keep_failed)
        if has_begun(asked.row, asked.kind):
            # One that has not has no state yet to be asked; its validator is asked when it does the update.
            self._validate(ctx, asked)
        text = messages.encode(asked.given).decode()
        messages.put_update(ctx, workflow_id, name, text, update_id)
        return _shown(self._keep(ctx, asked, update_id))

    def _read(
        self, ctx: Context, workflow_id: int, name: str, payload: Any
    ) -> tuple[Any, Definition, str, Update, Any]:
        row, kind, declared, given = self._answering.read(ctx, workflow_id, name, payload)
        return row, kind, name, declared, given

    def _validate(self, ctx: Context, asked: Asked) -> None:
        self._answering.validate(ctx, asked.row, asked.kind, asked.name, asked.declared, asked.given)

    def _run(self, ctx: Context, asked: Asked) -> Any:
        return self._answering.run(ctx, asked.row, asked.kind, asked.name, asked.declared, asked.given)

    def _run_unkept(self, ctx: Context, workflow_id: int, name: str, payload: Any, quietly: bool) -> dict[str, Any]:
        asked = Asked(*self._read(ctx, workflow_id, name, payload))
        if not is_awake(asked.row.status):
            refuse_asleep(asked.row)
        self._validate(ctx, asked)
        try:
            return {"outcome": COMPLETED, "reply": self._run(ctx, asked), "error": None}
        except Exception as error:
            if not quietly:
                raise
            return {"outcome": FAILED, "reply": None, "error": self._explained(ctx, asked, error)}

    def _run_kept(self, ctx: Context, asked: Asked, kept: int, *, raising: bool) -> dict[str, Any]:
        table = ctx.db.workflow_update
        try:
            reply = self._run(ctx, asked)
            text = None if reply is None else messages.encode(reply).decode()
        except (Exception, CallBudgetExceededError) as error:
            if raising:
                raise
            told = self._explained(ctx, asked, error)
            failed = {"outcome": FAILED, "error_code": told["code"], "error_message": told["message"]}
            return _shown(table.update(kept, **failed, ended_at=ctx.now))
        # It may have ended the workflow, and what was still to be done was then given up.
        done = {"outcome": COMPLETED, "reply": text, "error_code": None, "error_message": None}
        return _shown(table.update(kept, **done, ended_at=ctx.now))

    def _explained(self, ctx: Context, asked: Asked, error: BaseException) -> dict[str, Any]:
        limits = self.dispatcher.limits
        message = explain(ctx, asked.kind.name, asked.row.id, f"update_{asked.name}", error, limits)
        return {"code": error.code if isinstance(error, SenderError) else "internal", "message": message}

    def _again(self, ctx: Context, known: Any, payload: Any) -> dict[str, Any]:
        row: Any = ctx.db.workflow.require(known.workflow_id)
        kind = self.dispatcher.registry.require(row.workflow_type)
        declared = kind.updates.get(known.name)
        given = payload if declared is None else declared.reader.read(payload, self.dispatcher.limits.payload_bytes_max)
        if declared is not None and messages.fingerprint(given) != known.digest:
            raise SenderError(
                "key_reused",
                f"update {known.name} with id {known.update_id!r} was sent to workflow {known.workflow_id} before with "
                "another payload; use a new id for a new update",
                update_id=known.update_id,
            )
        return _shown(known)

    def _keep(self, ctx: Context, asked: Asked, update_id: str) -> Any:
        table = ctx.db.workflow_update
        if table.count(workflow_id=asked.row.id) >= UPDATES_MAX:
            ended = [r for r in table.lookup(("workflow_id",), (asked.row.id,)) if r.outcome != ACCEPTED]
            for old in ended[: UPDATES_MAX // 2]:
                table.delete(old.id)
        return table.insert(
            workflow_id=asked.row.id,
            name=asked.name,
            update_id=update_id,
            digest=messages.fingerprint(asked.given),
            outcome=ACCEPTED,
            sender=ctx.sender,
            accepted_at=ctx.now,
        )

    # -- updates that were stored --------------------------------------------------------------

    def _run_stored(self, ctx: Context, row: Any, kind: Definition, message: Any) -> None:
        """A workflow is awake again: do an update that was accepted meanwhile; if it fails, the workflow goes on."""
        known = ctx.db.workflow_update.first(
            workflow_id=row.id, name=message.name, update_id=message.signal_id, outcome=ACCEPTED
        )
        if known is None:
            return
        try:
            asked = Asked(*self._read(ctx, row.id, message.name, message.payload))
            self._validate(ctx, asked)
        except ReactorError as error:
            failed = {"outcome": FAILED, "error_code": error.code, "error_message": error.message}
            ctx.db.workflow_update.update(known.id, **failed, ended_at=ctx.now)
            return
        self._run_kept(ctx, asked, known.id, raising=False)

    def ended(self, ctx: Context, row: Any) -> None:
        """What it has not done yet it will not do."""
        table = ctx.db.workflow_update
        if table.rows:
            for known in table.lookup(("workflow_id",), (row.id,)):
                if known.outcome == ACCEPTED:
                    why = {"error_code": "not_active", "error_message": f"workflow {row.id} has ended ({row.status})"}
                    table.update(known.id, outcome=FAILED, ended_at=ctx.now, **why)

    def removed(self, ctx: Context, row: Any) -> None:
        """Its updates are forgotten with it."""
        table = ctx.db.workflow_update
        if table.rows:
            for known in table.lookup(("workflow_id",), (row.id,)):
                table.delete(known.id)


def _shown(known: Any) -> dict[str, Any]:
    """An update as it is answered."""
    error = None if known.error_code is None else {"code": known.error_code, "message": known.error_message}
    reply = None if known.reply is None else orjson.loads(known.reply)
    return {"outcome": known.outcome, "reply": reply, "error": error}
