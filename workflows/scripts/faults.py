"""Failed attempts of steps, as rows of ``execution_error``."""

from __future__ import annotations

from reactor.context import Context
from workflows.control.errorlog import last_error, put_error
from workflows.failures import FailureCategory


def note_attempt(
    ctx: Context,
    workflow_id: int,
    pointer_id: int,
    step: str,
    attempt: int,
    error: BaseException,
    delay_us: int | None,
) -> None:
    """Leave a row for a failed attempt; ``delay_us`` is how long until the next one, None if there is none."""
    before = last_error(ctx, workflow_id, pointer_id) if attempt > 1 else None
    put_error(
        ctx,
        workflow_id,
        f"step:{step}",
        FailureCategory.ACTIVITY,
        f"{type(error).__name__}: {error}",
        error=error,
        attempt=attempt,
        follows=None if before is None else before.id,
        delay_us=delay_us,
        pointer_id=pointer_id,
    )
