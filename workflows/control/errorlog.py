"""Failures as rows: one for each, in the commit that bears the consequence, and so many of each workflow."""

from __future__ import annotations

import traceback
from typing import Any

from reactor.context import Context
from reactor.errors import plain_text
from workflows.failures import FailureCategory
from workflows.life import Move

ERRORS_MAX = 50
"""Rows kept of one workflow, the newest."""
MESSAGE_CHARS_MAX = 2_000
TRACEBACK_CHARS_MAX = 8_000

CATEGORY_OF = {
    Move.CANCEL: FailureCategory.CANCELLED.value,
    Move.TERMINATE: FailureCategory.TERMINATED.value,
    Move.TIME_OUT: FailureCategory.TIMEOUT.value,
}
"""What kind of failure an end from outside is."""


def put_error(
    ctx: Context,
    workflow_id: int,
    cause: str,
    category: str,
    message: str,
    *,
    error: BaseException | None = None,
    attempt: int = 1,
    follows: int | None = None,
    delay_us: int | None = None,
    pointer_id: int | None = None,
) -> int:
    """Write one failure of a workflow and return the id of its row; past ``ERRORS_MAX`` the oldest makes room."""
    table = ctx.db.execution_error
    if table.count(workflow_id=workflow_id) >= ERRORS_MAX:
        table.delete(table.first(workflow_id=workflow_id))
    row_id: int = table.insert(
        at=ctx.real_now,
        workflow_id=workflow_id,
        pointer_id=pointer_id,
        cause=cause,
        attempt=attempt,
        follows=follows,
        delay_us=delay_us,
        category=category,
        message=plain_text(message)[:MESSAGE_CHARS_MAX],
        traceback=None if error is None else trace_of(error),
    ).id
    return row_id


def trace_of(error: BaseException) -> str:
    """The traceback of an error as a row keeps it: where it is too long, its end, which names the place."""
    return plain_text("".join(traceback.format_exception(error)))[-TRACEBACK_CHARS_MAX:]


def last_error(ctx: Context, workflow_id: int, pointer_id: int | None) -> Any:
    """The newest failure of a workflow, of that place in its script; None if there is none."""
    rows = ctx.db.execution_error.lookup(("workflow_id",), (workflow_id,))
    return next((row for row in reversed(rows) if row.pointer_id == pointer_id), None)
