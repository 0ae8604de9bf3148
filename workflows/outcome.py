"""What a step leaves behind, as columns of the workflow's row, and what a failure of it is called."""

from __future__ import annotations

import sys
import traceback
from typing import Any

from reactor.budget import CallBudgetExceededError
from reactor.context import Context
from reactor.errors import ReactorError, SenderError
from reactor.limits import Limits
from workflows.audit import record
from workflows.control.limits import warn
from workflows.definition import Definition, encode_result
from workflows.failures import FailureCategory
from workflows.handle import Workflow
from workflows.life import FAILED, RUNNING, TIMED_OUT, Move, Status, follow
from workflows.start import deadlines
from workflows.versions.migrations import StateError

# Below 10 KB a state is cheap to rewrite at every step, at 100 KB it should have been split long ago.
STATE_WARN_BYTES = 10_000
STATE_NOTED_BYTES = 64 << 10
STATE_ALARM_BYTES = 100_000
MESSAGE_CHARS_MAX = 2_000

AWAITED = follow(RUNNING, Move.AWAITED)


class StrandedError(RuntimeError):
    """A step left its workflow with nothing that would wake it."""

    def __init__(self, kind: Definition, where: str) -> None:
        super().__init__(
            f"{where} of {kind.name} left nothing that would wake the workflow: arm a timer, declare a signal, or end "
            "it with w.complete() or w.fail()"
        )


class RunawayError(RuntimeError):
    """A step ran past the budget of a call though it had the whole of it to itself."""

    category = FailureCategory.TASK_FAILURE

    def __init__(self, limits: Limits) -> None:
        super().__init__(f"it ran longer than {limits.call_budget_s} s")


def new_columns(ctx: Context, kind: Definition, w: Workflow[Any], limits: Limits) -> dict[str, Any]:
    """The columns that ``on_start`` decided. Raises ``SenderError`` ``payload_too_large`` for the state."""
    if not hasattr(w, "state"):
        raise TypeError(f"on_start of {kind.name} must assign w.state: its state has fields without a default")
    state = kind.encode_state(w.state)
    if len(state) > STATE_WARN_BYTES:
        weigh(w, state, 0, limits)
    columns: dict[str, Any] = {"current_step": sys.intern(str(w.step)), "state": state}
    if w.ending is None:
        columns["status"] = AWAITED
        columns["waits"] = w.waits
    else:
        put_end(ctx, columns, w.ending, w.error, w.category)
        columns["result"] = encode_result(w.result)
    if w.run != 1:
        columns["run"] = w.run
    return columns


def changed_columns(ctx: Context, kind: Definition, w: Workflow[Any], row: Any, limits: Limits) -> dict[str, Any]:
    """The columns a later step changed. Raises as ``new_columns``."""
    changes: dict[str, Any] = {}
    state = kind.encode_state(w.state)
    if state != row.state:
        if len(state) > STATE_WARN_BYTES:
            weigh(w, state, len(row.state), limits)
        changes["state"] = state
    if row.state_version != kind.state_version:
        changes["state_version"] = kind.state_version
    if w.step != row.current_step:
        changes["current_step"] = sys.intern(str(w.step))
    if w.ending is not None:
        put_end(ctx, changes, w.ending, w.error, w.category)
        changes["result"] = encode_result(w.result)
    elif row.status is not AWAITED:
        changes["status"] = AWAITED
        changes["waits"] = w.waits
        if row.failure_category is not None:
            # It was parked after a failure, and is not any more.
            changes["error_message"] = changes["failure_category"] = None
    elif w.waits != row.waits:
        changes["waits"] = w.waits
    if w.run != row.run:
        changes["run"] = w.run
        if row.deadline is not None:
            changes["deadline"] = deadlines.renew(ctx, row.id)
    return changes


def put_end(ctx: Context, columns: dict[str, Any], status: Status, message: str | None, category: str | None) -> None:
    """The columns that every end sets."""
    columns["status"] = status
    columns["error_message"] = message
    columns["failure_category"] = category
    columns["waits"] = None
    columns["ended_at"] = ctx.now


def put_failed_start(ctx: Context, columns: dict[str, Any], message: str, category: str) -> None:
    """The columns of a workflow whose ``on_start`` failed: it has no state."""
    put_end(ctx, columns, FAILED, message, category)
    columns["current_step"] = "started"
    columns["state"] = "null"


def move(
    ctx: Context, row: Any, status: Status, event: str, cause: str, audit: bool, detail: str | None, **changes: Any
) -> Any:
    """Put a live workflow into another live status without a step of its own; returns its row after it."""
    changes["status"] = status
    count_on(ctx, row, changes)
    after = ctx.db.workflow.update(row.id, **changes)
    if audit:
        record(ctx, row.id, after.sequence, event, cause, row, status, after.current_step, detail)
    return after


def count_on(ctx: Context, row: Any, changes: dict[str, Any]) -> None:
    """Add what every change of a row changes."""
    changes["sequence"] = row.sequence + 1
    # Logical times of steps may run back when timers are late; what a row shows never does.
    changes["updated_at"] = ctx.now if ctx.now > row.updated_at else row.updated_at


def weigh(w: Workflow[Any], state: str, before: int, limits: Limits) -> None:
    """Refuse a state above the cap; warn once when it grows past 10 KB, by a row past 64 KiB, louder past 100 KB."""
    size = len(state.encode())
    if size > limits.state_bytes_max:
        raise SenderError(
            "payload_too_large",
            f"the state of workflow {w.id} ({w.type}) would have {size} bytes; {limits.state_bytes_max} are allowed",
            bytes=size,
            bytes_max=limits.state_bytes_max,
        )
    if before <= STATE_NOTED_BYTES < size:
        warn(w.ctx, w.id, "bytes of state", size, limits.state_bytes_max)
    if before <= STATE_ALARM_BYTES < size:
        w.log(f"its state has grown to {size} bytes: keep what is large in a table of its own", "error")
    elif before <= STATE_WARN_BYTES < size <= STATE_ALARM_BYTES:
        w.log(f"its state has grown to {size} bytes, and every step rewrites it", "warning")


def explain(ctx: Context, type_name: str, workflow_id: int, where: str, error: BaseException, limits: Limits) -> str:
    """The message of a failure as a row keeps it; what helps to find the defect goes to the log."""
    if isinstance(error, CallBudgetExceededError):
        message = f"it ran longer than {limits.call_budget_s} s"
    elif isinstance(error, ReactorError | StrandedError | RunawayError | StateError):
        message = str(error)
    else:
        message = f"{type(error).__name__}: {error}"
    trace = "".join(traceback.format_exception(error))
    ctx.log(f"{type_name} {workflow_id} failed in {where}: {message}\n{trace}", "error")
    return message[:MESSAGE_CHARS_MAX]


def record_step(
    ctx: Context, before: Any, row: Any, kind: str, cause: str, w: Workflow[Any] | None, detail: str | None = None
) -> None:
    """The events of one step: its outcome, then those its handler added."""
    ended = row.status is not AWAITED
    outcome = kind if not ended else "timed_out" if row.status is TIMED_OUT else row.status.lower()
    record(
        ctx,
        row.id,
        row.sequence,
        outcome,
        cause,
        before,
        row.status,
        row.current_step,
        row.error_message if ended else detail,
    )
    if w is not None and w.notes is not None:
        for note, text in w.notes:
            record(ctx, row.id, row.sequence, note, cause, row, row.status, row.current_step, text)
