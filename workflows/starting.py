"""Starting workflows: the plain way, for types and callers without rules, and the one step that begins any workflow.

What may be asked of a start besides (ids, keys, exclusivity, delays…) is decided by the rules, a part of the engine.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from reactor.budget import CallBudgetExceededError
from reactor.context import Context
from reactor.errors import SenderError
from workflows.definition import Definition
from workflows.failures import HARD, StrayError
from workflows.handle import Workflow
from workflows.life import FAULTED
from workflows.outcome import AWAITED, StrandedError, count_on, new_columns, record_step
from workflows.start.names import insert_named
from workflows.start.options import CORRELATION_CHARS_MAX, Started, StartOptions
from workflows.steps import Steps
from workflows.versions.retiring import refuse_retired


class Birth(NamedTuple):
    """What the rules have decided about a workflow before it begins.

    ``row`` is its row if it was Pending; then there is no caller who could be told of a refusal.
    """

    name: str | None = None
    root_id: int | None = None
    deadline: int | None = None
    row: Any = None


PLAIN = Birth()


class _NotForReal(Exception):
    """Undoes a start that was only tried."""


def refused(error: SenderError) -> dict[str, Any]:
    """The answer of ``can_start`` for a start that would be refused with ``error``."""
    return {
        "ok": False,
        "outcome": None,
        "status": None,
        "reason": error.to_json(),
        "left_us": error.details.get("left_us"),
    }


def check_correlation(correlation_id: str) -> None:
    """``SenderError`` ``bad_arguments`` for one that is too long: it is kept in memory, with an index."""
    if len(correlation_id) > CORRELATION_CHARS_MAX:
        raise SenderError(
            "bad_arguments",
            f"parameter correlation_id: {CORRELATION_CHARS_MAX} characters at most",
            parameter="correlation_id",
        )


class Rules(Protocol):
    """The part of the engine that decides about starts."""

    def start(
        self,
        ctx: Context,
        kind: Definition,
        entity_id: int | None,
        correlation_id: str | None,
        payload: Any,
        parent_id: int | None,
        options: StartOptions | None,
    ) -> Started:
        """Start under the rules; ``payload`` is decoded."""


class Starting:
    """Starts workflows. ``rules`` is set by the part that has them."""

    rules: Rules

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def start(
        self,
        ctx: Context,
        workflow_type: str,
        entity_id: int | None,
        correlation_id: str | None,
        payload: Any,
        parent_id: int | None = None,
        options: StartOptions | None = None,
    ) -> int:
        """Start a workflow and return its id, or that of the one the rules say the caller has instead.

        ``SenderError``: ``unknown_type``, ``type_retired``, ``bad_arguments``, ``payload_too_large``, what
        ``start_with`` raises, or what ``on_start`` raised; nothing is stored then. Any other error of ``on_start``
        leaves a Failed workflow.
        """
        kind = self._steps.registry.get(workflow_type) or self._steps.registry.require(workflow_type)
        if kind.may_be_retired:
            refuse_retired(ctx, kind)
        if correlation_id is not None:
            check_correlation(correlation_id)
        given = kind.payload.read(payload, self._steps.limits.payload_bytes_max)
        if options is not None or parent_id is not None or kind.has_start_rules:
            return self.rules.start(ctx, kind, entity_id, correlation_id, given, parent_id, options).id
        w: Workflow[Any] = Workflow(ctx, kind, ctx.db.workflow.reserve_id())
        w.entity_id = entity_id
        w.correlation_id = correlation_id
        # What a timer starts belongs to nobody, also when the operator fires it by hand.
        w.owner = ctx.sender if ctx.timer is None else None
        self.begin(ctx, kind, w, given, PLAIN)
        return w.id

    def start_with(
        self,
        ctx: Context,
        workflow_type: str,
        entity_id: int | None,
        correlation_id: str | None,
        payload: Any,
        parent_id: int | None = None,
        options: StartOptions | None = None,
    ) -> Started:
        """As ``start``, and tell what came of it.

        ``SenderError`` besides: ``already_exists``, ``key_reused``, ``key_spent``, ``conflict``, ``limit_exceeded``.
        """
        kind = self._steps.registry.require(workflow_type)
        if kind.may_be_retired:
            refuse_retired(ctx, kind)
        if correlation_id is not None:
            check_correlation(correlation_id)
        given = kind.payload.read(payload, self._steps.limits.payload_bytes_max)
        return self.rules.start(ctx, kind, entity_id, correlation_id, given, parent_id, options)

    def can_start(self, ctx: Context, workflow_type: str, entity_id: int | None, payload: Any) -> dict[str, Any]:
        """``{"ok", "outcome", "status", "reason", "left_us"}``: what ``start_with`` would come to now.

        It is tried and undone, so it never says anything else than a start. ``reason`` is the error. ``left_us`` is how
        long the one that is in the way has still to go, as far as that is known.
        """
        try:
            with ctx.savepoint():
                started = self.start_with(ctx, workflow_type, entity_id, None, payload)
                raise _NotForReal
        except _NotForReal:
            tried = {"outcome": str(started.outcome), "status": started.status}
            return {"ok": True, **tried, "reason": None, "left_us": None}
        except SenderError as error:
            return refused(error)

    def begin(self, ctx: Context, kind: Definition, w: Workflow[Any], payload: Any, birth: Birth) -> None:
        """The first step of a workflow, which writes its row."""
        self._steps.enter(w)
        try:
            self._begin(ctx, kind, w, payload, birth)
        except Exception as error:
            if birth.row is None and isinstance(error, SenderError):
                raise
            event, columns = self._steps.ends.start_failed(ctx, kind, w, payload, error)
            self._put(ctx, kind, w, event, columns, birth)
        finally:
            del self._steps.open[w.id]
        if w.deferred:
            self._steps.run_deferred(ctx, w)

    def _begin(self, ctx: Context, kind: Definition, w: Workflow[Any], payload: Any, birth: Birth) -> None:
        try:
            with ctx.savepoint():
                self._try_start(ctx, kind, w, payload, birth)
        except CallBudgetExceededError:
            if len(self._steps.open) == 1:
                raise
            self._steps.once_more(ctx, self._try_start, ctx, kind, w, payload, birth)

    def _try_start(self, ctx: Context, kind: Definition, w: Workflow[Any], payload: Any, birth: Birth) -> None:
        w.step = "started"
        if kind.new_state is not None:
            w.state = kind.new_state()
        try:
            kind.handler.on_start(w, payload)
        except (Exception, *HARD):
            raise
        except BaseException as error:
            raise StrayError(error) from error
        if w.ending is None and w.waits is None and not self._steps.is_awaiting(ctx, w):
            raise StrandedError(kind, "on_start")
        self._put(ctx, kind, w, "started", new_columns(ctx, kind, w, self._steps.limits), birth)

    def _put(
        self, ctx: Context, kind: Definition, w: Workflow[Any], event: str, columns: dict[str, Any], birth: Birth
    ) -> None:
        before = birth.row
        if before is None:
            columns["id"] = w.id
            columns["entity_id"] = w.entity_id
            columns["correlation_id"] = w.correlation_id
            columns["state_version"] = kind.state_version
            columns["owner"] = w.owner
            columns["created_at"] = columns["updated_at"] = ctx.now
            if birth is not PLAIN:
                columns["parent_id"] = w.parent_id
                columns["root_id"] = birth.root_id
                columns["deadline"] = birth.deadline
            row = insert_named(ctx, kind.name, birth.name, columns)
        else:
            count_on(ctx, before, columns)
            if before.failure_category is not None and columns["status"] is AWAITED:
                # It had failed before, and has begun now.
                columns["error_message"] = columns["failure_category"] = None
            row = ctx.db.workflow.update(
                before.id, state_version=kind.state_version, deadline=birth.deadline, **columns
            )
        if self._steps.audit:
            record_step(ctx, before, row, event, "start", w)
        if row.status is not AWAITED and row.status is not FAULTED:
            self._steps.ends.ended(ctx, row)
