"""What a script may see go wrong, and what may go wrong with a script."""

from __future__ import annotations

from typing import Any, TypeVar

from workflows import failures
from workflows.policy import ErrorPolicy, Fatal, Then

Error = TypeVar("Error", bound=BaseException)


class ScriptError(RuntimeError):
    """Base of what an ``await`` in a script may raise. ``category`` is the failure category it ends the script with."""

    category = "application"


class StepFailedError(ScriptError):
    """A step failed as often as its policy allows. ``step`` is its name, ``attempt`` the number of the last try."""

    category = "activity"

    def __init__(self, message: str, step: str, attempt: int) -> None:
        super().__init__(message)
        self.step = step
        self.attempt = attempt


class ChildFailedError(ScriptError):
    """A child did not complete. ``status`` is how it ended; ``workflow_id`` is None if it could not be started."""

    category = "child"

    def __init__(self, message: str, status: str, workflow_id: int | None) -> None:
        super().__init__(message)
        self.status = status
        self.workflow_id = workflow_id


class TaskFailedError(ScriptError):
    """A task was not done. ``status`` is ``failed``, ``cancelled`` or ``timed_out``, or ``refused`` by its queue."""

    category = "activity"

    def __init__(self, message: str, status: str) -> None:
        super().__init__(message)
        self.status = status


class Cancelled(BaseException):
    """Thrown into a script whose workflow is being cancelled; ``finally`` and ``async with w.saga()`` clean up."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ContinueAsNew(BaseException):
    """What ``w.continue_as_new`` raises to leave the script."""

    def __init__(self, payload: Any) -> None:
        super().__init__("the run continues as a new one")
        self.payload = payload


class DivergenceError(RuntimeError):
    """A script does not do again what its record says it did.

    ``event`` is the number of the first event that differs, ``recorded`` and ``asked`` describe it.
    """

    category = "task_failure"
    # A reload may have come half-way; if it is still so after that, the code is wrong, not the workflow.
    policy = ErrorPolicy(attempts=3, first_delay_us=2_000_000, then=Then.PARK)

    def __init__(self, event: int, recorded: str, asked: str) -> None:
        super().__init__(
            f"the script has diverged from its record at event {event}: recorded is {recorded}, but the script "
            f"{asked}. Restore the order of its awaits, or tell the old and the new way apart with w.version()"
        )
        self.event = event
        self.recorded = recorded
        self.asked = asked


def as_failure(error: BaseException) -> Exception:
    """As ``workflows.failures.as_failure``, with a word about what only a script raises."""
    if isinstance(error, ContinueAsNew):
        return Fatal("it raised ContinueAsNew: w.continue_as_new() is for the script itself")
    return failures.as_failure(error)


def without_frames(error: Error) -> Error:
    """``error`` without what it refers to: frames, and by them the whole script, in a circle nobody would collect."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error


class BudgetError(RuntimeError):
    """The record of a run has grown past its budget."""

    category = "structural_limit"
