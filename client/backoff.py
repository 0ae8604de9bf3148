"""How long to wait before connecting again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Doubling waits with jitter, so that a thousand clients do not come back in the same instant.

    Before attempt ``n`` (from 1) the wait is ``first_s * factor**(n-1)``, at most ``cap_s``, of which the last
    ``jitter`` share is random. ``attempts_max``: give up after so many failures in a row; None means never.
    A connection that lived for ``stable_s`` starts the count again.
    """

    first_s: float = 0.1
    factor: float = 2.0
    cap_s: float = 10.0
    jitter: float = 0.5
    attempts_max: int | None = None
    stable_s: float = 5.0

    def delay_s(self, attempt: int, random: Callable[[], float]) -> float:
        """Seconds to wait before attempt ``attempt``; ``random`` gives numbers from 0 up to 1."""
        # Past 64 doublings the cap has long been reached, and the power would overflow.
        whole = min(self.cap_s, self.first_s * self.factor ** min(attempt - 1, 64))
        return whole * (1 - self.jitter * random())

    def gives_up(self, failures: int) -> bool:
        """Whether ``failures`` attempts in a row are enough."""
        return self.attempts_max is not None and failures >= self.attempts_max
