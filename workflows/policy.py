"""What becomes of a step that has failed: tried again after a while, and then what its policy says."""

from __future__ import annotations

import enum

import msgspec

from reactor.clock import SECOND
from reactor.errors import Refusal

DELAY_US_MAX = 366 * 24 * 3600 * SECOND


class Then(enum.StrEnum):
    """What comes when a step has failed as often as it may."""

    FAIL = "fail"
    """A handler's workflow ends as Failed; a script sees ``StepFailedError``, and ends as Failed unless it catches it.
    """
    PARK = "park"
    """The workflow is Faulted and waits for somebody to decide: retry, skip or cancel."""
    TERMINATE = "terminate"
    """The workflow ends as Terminated, and no code of it runs any more."""
    COMPENSATE = "compensate"
    """A script's sagas undo what they have done, and then it ends as Failed; for a handler the same as ``fail``."""


class ErrorPolicy(msgspec.Struct, frozen=True):
    """How often a failing step is tried, how long apart, and what comes then.

    ``attempts`` counts the first one. The second comes ``first_delay_us`` after it, and each further one after
    ``factor`` times the delay before, up to ``max_delay_us``. Delays run on the wall.
    """

    attempts: int = 3
    first_delay_us: int = SECOND
    factor: float = 2.0
    max_delay_us: int = 60 * SECOND
    then: Then = Then.FAIL

    def __post_init__(self) -> None:
        if not (1 <= self.attempts <= 1_000_000 and self.factor >= 1 and 0 < self.first_delay_us <= self.max_delay_us):
            raise Refusal("bad_declaration", f"{self}: attempts from 1, a factor from 1, delays that do not shrink")
        if self.max_delay_us > DELAY_US_MAX:
            raise Refusal("bad_declaration", f"{self}: a delay of more than a year")

    def delay_us(self, attempt: int, error: BaseException) -> int | None:
        """How long after failed attempt number ``attempt`` (from 1) the next comes; None if there is none."""
        if attempt >= self.attempts or isinstance(error, Fatal):
            return None
        if isinstance(error, RetryAfter):
            return min(max(error.delay_us, 1), DELAY_US_MAX)
        # Past 64 doublings a float has long been larger than any delay.
        return min(int(self.first_delay_us * self.factor ** min(attempt - 1, 64)), self.max_delay_us)


FAIL_AT_ONCE = ErrorPolicy(attempts=1)
"""The policy of handlers that declare none."""
THREE_ATTEMPTS = ErrorPolicy()
"""The policy of a script's steps that name none."""


class Fatal(Exception):
    """Raised by a step that knows that trying again would not help."""


class RetryAfter(Exception):
    """Raised by a step that knows when trying again may help: ``delay_us`` from now."""

    def __init__(self, delay_us: int, message: str = "") -> None:
        super().__init__(message or f"to be tried again in {delay_us} µs")
        self.delay_us = delay_us
