"""What time it is: the only place in the program that asks.

Instants are integer microseconds since 1970-01-01 UTC; durations are integer microseconds.
"""

from __future__ import annotations

import time
from typing import Protocol

MILLISECOND = 1_000
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def milliseconds(count: float) -> int:
    """``count`` milliseconds as microseconds."""
    return round(count * MILLISECOND)


def seconds(count: float) -> int:
    """``count`` seconds as microseconds."""
    return round(count * SECOND)


def minutes(count: float) -> int:
    """``count`` minutes as microseconds."""
    return round(count * MINUTE)


def hours(count: float) -> int:
    """``count`` hours as microseconds."""
    return round(count * HOUR)


def days(count: float) -> int:
    """``count`` days of 24 hours as microseconds."""
    return round(count * DAY)


class Clock(Protocol):
    """Anything that can tell the wall time."""

    def now(self) -> int:
        """Microseconds since 1970 UTC; never less than an earlier answer of the same clock."""
        ...


class SystemClock:
    """The machine's clock, kept from running backwards.

    Time advances with the monotonic clock from where the wall clock stood at start. A wall clock that is set
    forward is followed at once; one that is set back is not followed before the next start, so no timer
    waits twice and no interval stops ticking.
    """

    _FOLLOW_US = SECOND // 2

    def __init__(self) -> None:
        self._offset_us = time.time_ns() // 1000 - time.monotonic_ns() // 1000

    def now(self) -> int:
        """Microseconds since 1970 UTC."""
        return time.monotonic_ns() // 1000 + self._offset_us

    def follow_wall(self) -> int:
        """Take over a wall clock that was set forward; returns by how many microseconds, else 0."""
        ahead = time.time_ns() // 1000 - self.now()
        if ahead < self._FOLLOW_US:
            return 0
        self._offset_us += ahead
        return ahead


class SimulatedClock:
    """A clock that stands still until it is told to move; for tests and simulation."""

    def __init__(self, start_us: int = 1_700_000_000_000_000) -> None:
        self._now = start_us

    def now(self) -> int:
        """The simulated instant, in microseconds."""
        return self._now

    def advance(self, duration_us: int) -> None:
        """Move forward."""
        self.move_to(self._now + duration_us)

    def move_to(self, instant_us: int) -> None:
        """Move to an instant that is not in the past."""
        self._now = max(self._now, instant_us)
