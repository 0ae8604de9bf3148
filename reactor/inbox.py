"""The requests that wait for a turn, bounded in number and in bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from reactor.errors import Fault
from reactor.limits import Limits
from reactor.messages import Inspect, Request


class Inbox:
    """A queue that ``wake``s whoever takes turns when it is no longer empty."""

    def __init__(self, limits: Limits, wake: Callable[[], None]) -> None:
        self._limits = limits
        self._wake = wake
        self._requests: deque[Request] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._requests)

    def put(self, request: Request, size_bytes: int = 0) -> None:
        """Queue what a client asks; ``Fault`` ``overloaded`` when too much is waiting."""
        waiting = self._requests
        if len(waiting) >= self._limits.inbox_calls_max or self._bytes > self._limits.inbox_bytes_max:
            raise Fault("overloaded", "too many requests are waiting; send more slowly")
        self._bytes += size_bytes
        if not waiting:
            self._wake()
        waiting.append(request)

    def put_own(self, request: Request) -> None:
        """Queue what the reactor itself wants done; no limit holds it back."""
        if not self._requests:
            self._wake()
        self._requests.append(request)

    def take(self) -> list[Request]:
        """The next batch: at most ``calls_per_turn_max``, and at most one snapshot, which ends it.

        A snapshot may go through a large table, so others get their turn before the next one.
        """
        waiting = self._requests
        before = len(waiting)
        batch: list[Request] = []
        for _ in range(min(before, self._limits.calls_per_turn_max)):
            request = waiting.popleft()
            batch.append(request)
            if type(request) is Inspect and request.is_heavy:
                break
        # Shared out evenly: what matters is that it shrinks with the queue and is nothing when that is empty.
        self._bytes = self._bytes * len(waiting) // before if waiting else 0
        return batch
