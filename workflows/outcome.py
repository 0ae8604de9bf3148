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
from workflows.definition import Definition, encode_result
from workflows.handle import Workflow
from workflows.life import RUNNING, Move, follow

# Below 10 KB a state is cheap to rewrite at every step, at 100 KB it should have been split long ago.
STATE_WARN_BYTES = 10_000
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
        columns["waits"] = kind.waits
    else:
        columns["status"] = w.ending
        columns["result"] = encode_result(w.result)
        columns["error_message"] = w.error
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
        changes["status"] = w.ending
        changes["result"] = encode_result(w.result)
        changes["error_message"] = w.error
        changes["waits"] = None
    elif row.status is not AWAITED:
        changes["status"] = AWAITED
        changes["waits"] = kind.waits
    return changes


def count_on(ctx: Context, row: Any, changes: dict[str, Any]) -> None:
    """Add what every change of a row changes."""
    changes["sequence"] = row.sequence + 1
    # Logical times of steps may run back when timers are late; what a row shows never does.
    changes["updated_at"] = ctx.now if ctx.now > row.updated_at else row.updated_at


def weigh(w: Workflow[Any], state: str, before: int, limits: Limits) -> None:
    """Refuse a state above the cap; warn once when it grows past 10 KB and louder past 100 KB."""
    size = len(state.encode())
    if size > limits.state_bytes_max:
        raise SenderError(
            "payload_too_large",
            f"the state of workflow {w.id} ({w.type}) would have {size} bytes; {limits.state_bytes_max} are allowed",
            bytes=size,
            bytes_max=limits.state_bytes_max,
        )
    if before <= STATE_ALARM_BYTES < size:
        w.log(f"its state has grown to {size} bytes: keep what is large in a table of its own", "error")
    elif before <= STATE_WARN_BYTES < size <= STATE_ALARM_BYTES:
        w.log(f"its state has grown to {size} bytes, and every step rewrites it", "warning")


def explain(ctx: Context, type_name: str, workflow_id: int, where: str, error: BaseException, limits: Limits) -> str:
    """The message of a failure as a row keeps it; what helps to find the defect goes to the log."""
    if isinstance(error, CallBudgetExceededError):
        message = f"it ran longer than {limits.call_budget_s} s"
    elif isinstance(error, ReactorError | StrandedError | RunawayError):
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
    outcome = row.status.lower() if ended else kind
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
