"""Keeping the garbage collector away from the rows."""

from __future__ import annotations

import gc

from reactor.engine import Engine

_FULL_EVERY_S = 3_600
_FEW_ROWS = 50_000


class Garbage:
    """Keeps the garbage collector from walking through the rows.

    Everything alive is set aside again and again (``gc.freeze``), so that the collector only looks at what is young. A
    full collection would walk all that came since the last time, and what is set aside besides: with a million rows a
    pause of tenths of a second. So it is done where it costs nothing, with few rows, or once an hour when nothing
    happens; meanwhile old cycles stay. Connections, the long-lived ones, break theirs when they end.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._commits = 0
        self._since_full_s = 0

    def settle(self, elapsed_s: int = 0) -> None:
        """Set aside what is alive; called every ``elapsed_s`` seconds."""
        counters = self._engine.counters
        is_idle = counters.commits == self._commits
        self._commits = counters.commits
        self._since_full_s += elapsed_s
        rows = sum(len(table) for table in self._engine.store)
        if rows < _FEW_ROWS or (is_idle and self._since_full_s >= _FULL_EVERY_S):
            self._since_full_s = 0
            gc.unfreeze()
            gc.collect()
        else:
            gc.collect(1)
        gc.freeze()
        gc.set_threshold(20_000, 20, 1_000_000)
