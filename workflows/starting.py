"""Starting workflows."""

from __future__ import annotations

from typing import Any

from reactor.budget import CallBudgetExceededError
from reactor.context import Context
from reactor.errors import SenderError
from workflows.definition import Definition
from workflows.handle import Workflow
from workflows.life import FAILED
from workflows.outcome import AWAITED, StrandedError, explain, new_columns, record_step
from workflows.steps import Steps


class Starting:
    """Starts workflows."""

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
    ) -> int:
        """Start a workflow and return its id.

        ``SenderError``: ``unknown_type``, ``bad_arguments``, ``payload_too_large``, or what ``on_start`` raised;
        nothing is stored then. Any other error of ``on_start`` leaves a Failed workflow.
        """
        kind = self._steps.registry.get(workflow_type) or self._steps.registry.require(workflow_type)
        given = kind.payload.read(payload, self._steps.limits.payload_bytes_max)
        w: Workflow[Any] = Workflow(ctx, kind, ctx.db.workflow.reserve_id())
        w.entity_id = entity_id
        w.correlation_id = correlation_id
        # What a timer starts belongs to nobody, also when the operator fires it by hand.
        w.owner = ctx.sender if ctx.timer is None else None
        w.parent_id = parent_id
        self._steps.enter(w)
        try:
            self._begin(ctx, kind, w, given)
        except SenderError:
            raise
        except Exception as error:
            message = explain(ctx, kind.name, w.id, "on_start", error, self._steps.limits)
            columns = {"status": FAILED, "current_step": "started", "state": "null", "error_message": message}
            self._insert(ctx, kind, w, "failed", columns)
        finally:
            del self._steps.open[w.id]
        if w.deferred:
            self._steps.run_deferred(ctx, w)
        return w.id

    def _begin(self, ctx: Context, kind: Definition, w: Workflow[Any], payload: Any) -> None:
        try:
            with ctx.savepoint():
                self._try_start(ctx, kind, w, payload)
        except CallBudgetExceededError:
            if len(self._steps.open) == 1:
                raise
            self._steps.once_more(ctx, self._try_start, ctx, kind, w, payload)

    def _try_start(self, ctx: Context, kind: Definition, w: Workflow[Any], payload: Any) -> None:
        w.step = "started"
        if kind.new_state is not None:
            w.state = kind.new_state()
        kind.handler.on_start(w, payload)
        if w.ending is None and kind.waits is None and not self._steps.is_awaiting(ctx, w):
            raise StrandedError(kind, "on_start")
        self._insert(ctx, kind, w, "started", new_columns(ctx, kind, w, self._steps.limits))

    def _insert(self, ctx: Context, kind: Definition, w: Workflow[Any], event: str, columns: dict[str, Any]) -> None:
        row = ctx.db.workflow.insert(
            id=w.id,
            workflow_type=kind.name,
            entity_id=w.entity_id,
            correlation_id=w.correlation_id,
            state_version=kind.state_version,
            owner=w.owner,
            parent_id=w.parent_id,
            created_at=ctx.now,
            updated_at=ctx.now,
            **columns,
        )
        if self._steps.audit:
            record_step(ctx, None, row, event, "start", w)
        if row.status is not AWAITED:
            self._steps.ends.ended(ctx, row)
