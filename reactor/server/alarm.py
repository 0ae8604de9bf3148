"""Wakes the reactor at the instant its next timer is due, and runs its housekeeping, on APScheduler.

A due instant far ahead is one APScheduler job; the last stretch is the event loop's own timer, since re-entering a job
for each of ten thousand timers a second would cost more than firing them. There is never more than one alarm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from reactor.clock import DAY, SECOND, Clock

_NEAR_US = 10 * SECOND
_JOB = "next-due"


class Alarm:
    """Calls ``ring`` when the instant set last has come; it may ring early, never late by design."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._scheduler: Any = AsyncIOScheduler(timezone=UTC, event_loop=self._loop)
        self._scheduler.start()
        self._near: asyncio.TimerHandle | None = None
        self._set_for: int | None = None

    def set(self, due_us: int | None) -> None:
        """Ring at ``due_us`` (µs since 1970 UTC); None rings no more."""
        if due_us == self._set_for:
            return
        self._set_for = due_us
        if self._near is not None:
            self._near.cancel()
            self._near = None
        if due_us is None:
            return
        ahead_us = due_us - self._clock.now()
        if ahead_us <= _NEAR_US:
            self._near = self._loop.call_later(max(ahead_us, 0) / SECOND, self._rang)
        else:
            # No further than a calendar goes, nor so far that nobody has looked at the wall meanwhile.
            approach_us = min(due_us - _NEAR_US // 2, self._clock.now() + DAY)
            at = datetime.fromtimestamp(approach_us / SECOND, UTC)
            self._scheduler.add_job(
                self._approach, "date", run_date=at, id=_JOB, replace_existing=True, misfire_grace_time=None
            )

    async def _approach(self) -> None:
        due, self._set_for = self._set_for, None
        self.set(due)

    def _rang(self) -> None:
        self._near = None
        self._set_for = None
        self._ring()

    def every(self, seconds: float, function: Callable[[], None], name: str) -> None:
        """Run housekeeping every so many seconds; runs that were missed are not made up for."""

        async def run() -> None:
            function()

        self._scheduler.add_job(
            run, "interval", seconds=seconds, id=name, coalesce=True, max_instances=1, misfire_grace_time=None
        )

    def close(self) -> None:
        """Ring no more."""
        self.set(None)
        self._scheduler.shutdown(wait=False)
