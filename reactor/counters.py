"""What the engine counts about itself."""

from __future__ import annotations

from bisect import bisect_left

LATENESS_BOUNDS_US = (1_000, 5_000, 25_000, 100_000, 1_000_000, 10_000_000, 60_000_000)


class Counters:
    """What the engine has done since it started; read by metrics and tests."""

    __slots__ = (
        "calls", "commits", "failed", "fired", "lateness", "lateness_us_max", "lateness_us_sum", "missed",
        "timer_failures",
    )  # fmt: skip

    def __init__(self) -> None:
        self.calls = 0
        self.commits = 0
        self.failed = 0
        self.fired = 0
        self.missed = 0
        self.timer_failures = 0
        self.lateness_us_max = 0
        self.lateness_us_sum = 0
        # How many fired up to each of LATENESS_BOUNDS_US late (and not up to the one before), then all others.
        self.lateness = [0] * (len(LATENESS_BOUNDS_US) + 1)

    def late(self, lateness_us: int) -> None:
        """Note a timer that fires."""
        self.fired += 1
        self.lateness_us_sum += lateness_us
        self.lateness[bisect_left(LATENESS_BOUNDS_US, lateness_us)] += 1
        if lateness_us > self.lateness_us_max:
            self.lateness_us_max = lateness_us
