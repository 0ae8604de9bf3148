"""Stops a reducer that runs past its budget.

The reducer runs on the loop's own thread, so only a signal can reach it. A timer is armed once a turn, not once a
call: two system calls for hundreds of calls. Its handler raises inside the reducer when that reducer has run for too
long; the call is then undone like any other failure.
"""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Protocol

from reactor import indexes, store, table


class CallBudgetExceededError(BaseException):
    """Raised inside a reducer that ran too long. Not an ``Exception``, so that no ``except Exception`` hides it."""


class BudgetGuard(Protocol):
    """Watches over reducers while a turn runs."""

    def arm(self) -> None:
        """A turn begins."""

    def disarm(self) -> None:
        """The turn is over."""

    def enter(self, budget_s: float) -> None:
        """A reducer begins; it may run for ``budget_s`` seconds."""

    def leave(self) -> None:
        """The reducer is over."""


class NoGuard:
    """Lets everything run for ever; for simulation, where time does not pass."""

    def arm(self) -> None:
        """Nothing to arm."""

    def disarm(self) -> None:
        """Nothing to disarm."""

    def enter(self, budget_s: float) -> None:
        """No limit."""

    def leave(self) -> None:
        """Nothing to end."""


class SignalGuard:
    """Interrupts by SIGALRM; main thread only."""

    def __init__(self, check_every_s: float = 0.05) -> None:
        self._every_s = check_every_s
        self._budget_s = 0.0
        self._call = 0
        self._running = False
        self._seen = (0, 0.0)
        signal.signal(signal.SIGALRM, self._alarm)

    def arm(self) -> None:
        """Look every few hundredths of a second from now on."""
        signal.setitimer(signal.ITIMER_REAL, self._every_s, self._every_s)

    def disarm(self) -> None:
        """Stop looking."""
        signal.setitimer(signal.ITIMER_REAL, 0.0)

    def enter(self, budget_s: float) -> None:
        """A reducer begins."""
        # Cheap, since it happens for every call: the clock is only read when the alarm finds a call running.
        self._budget_s = budget_s
        self._call += 1
        self._running = True

    def leave(self) -> None:
        """The reducer is over."""
        self._running = False

    def _alarm(self, number: int, frame: FrameType | None) -> None:
        if not self._running or (frame is not None and frame.f_code is SignalGuard.leave.__code__):
            return
        now = time.monotonic()
        seen, since = self._seen
        if seen != self._call:
            self._seen = (self._call, now)
            return
        if now - since < self._budget_s:
            return
        if _inside_tables(frame):
            # A table half-way through a change must finish it, or undo would find pieces. Look again very soon.
            signal.setitimer(signal.ITIMER_REAL, 0.001, self._every_s)
            return
        # Should the reducer swallow it, it is told again after as long as it has had already.
        self._seen = (self._call, now)
        raise CallBudgetExceededError


_TABLE_CODE = {indexes.__file__, table.__file__, store.__file__}


def _inside_tables(frame: FrameType | None) -> bool:
    """Whether the interrupted code is the tables' own, at any depth below the reducer."""
    while frame is not None:
        if frame.f_code.co_filename in _TABLE_CODE:
            return True
        frame = frame.f_back
    return False
