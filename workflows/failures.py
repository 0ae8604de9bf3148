"""What kinds of failure there are. What a handler may raise to say more, and what comes of it, is in ``policy``."""

from __future__ import annotations

import enum
from typing import Any

from reactor.budget import CallBudgetExceededError
from reactor.errors import InvariantError
from workflows.policy import Fatal


class FailureCategory(enum.StrEnum):
    """What kind of failure ended or parked a workflow; the text is what ``failure_category`` shows.

    An exception says which it is with an attribute ``category``.
    """

    APPLICATION = "application"
    """The handler raised, or said so with ``w.fail``."""
    ACTIVITY = "activity"
    """Something it had done outside of it, a task or a step of a script, was not done."""
    CHILD = "child"
    """A child did not complete."""
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    TIMEOUT = "timeout"
    """Its deadline has passed."""
    TASK_FAILURE = "task_failure"
    """A step could not be run: its state cannot be read, it took too long, or it diverged from its record."""
    INTERNAL = "internal"
    """The engine itself."""
    STRUCTURAL_LIMIT = "structural_limit"
    """It wanted more of something than one workflow may have."""


HARD = (CallBudgetExceededError, KeyboardInterrupt)
"""What is not a step's to bear: whoever made the call deals with it."""


class StrayError(Fatal):
    """A step raised what is no ``Exception`` and would end a program: ``SystemExit``, asyncio's ``CancelledError``…"""

    category = FailureCategory.TASK_FAILURE

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"it raised {type(error).__name__}: {error}")


def as_failure(error: BaseException) -> Exception:
    """``error`` if it is an ``Exception``, else what stands for it, so that its workflow alone bears it.

    Not for what is ``HARD``.
    """
    return error if isinstance(error, Exception) else StrayError(error)


_CATEGORIES = frozenset(map(str, FailureCategory))


class StructuralLimitError(RuntimeError):
    """A workflow wanted more of ``kind`` than ``limit``, and would have had ``value``. It fails, without retries."""

    category = FailureCategory.STRUCTURAL_LIMIT

    def __init__(self, kind: str, value: int, limit: int) -> None:
        super().__init__(f"it would have {value} {kind}, and a workflow may have {limit}")
        self.kind = kind
        self.value = value
        self.limit = limit


def category_of(error: BaseException) -> str:
    """The category of what a step raised: what its class says, else ``application``."""
    said: Any = getattr(error, "category", None)
    if isinstance(said, str) and said in _CATEGORIES:
        return str(said)
    if isinstance(error, CallBudgetExceededError):
        return str(FailureCategory.TASK_FAILURE)
    return str(FailureCategory.INTERNAL if isinstance(error, InvariantError) else FailureCategory.APPLICATION)
