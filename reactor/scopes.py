"""Clock scopes: how the time of a timer's clock relates to the wall.

``wall`` is the wall itself. Every other clock is a row of the ``clock`` table: at wall instant ``anchor_wall`` it
showed ``anchor_value``, and since then it runs at ``rate_ppm`` millionths of the wall's speed (1,000,000 is normal,
0 stands still). ``world`` runs only while the process is up: each start moves its anchor to now, with the
value it had when the process was last known to be alive.

A timer's due value is kept in its own clock, so a scope that stops or slows rewrites one row, whatever the number
of its timers.
"""

from __future__ import annotations

from typing import Any

from reactor.columns import Timestamp
from reactor.errors import SenderError
from reactor.schema import declare_table, primary_key

CLOCK_TABLE = "clock"
WALL = "wall"
WORLD = "world"
NORMAL_RATE_PPM = 1_000_000


class _ClockRow:
    """One clock scope; see the module."""

    scope: str = primary_key()
    anchor_wall: Timestamp
    anchor_value: Timestamp
    rate_ppm: int = NORMAL_RATE_PPM


CLOCK_SCHEMA = declare_table(_ClockRow, name=CLOCK_TABLE, public=True)


class Scopes:
    """Conversions between the wall and each clock, read from the rows of the ``clock`` table."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def exists(self, clock: str) -> bool:
        """Whether timers may name this clock."""
        return clock == WALL or clock in self._table.rows

    def value_at(self, clock: str, wall_us: int) -> int:
        """What ``clock`` shows at a wall instant; ``SenderError`` ``bad_value`` if there is no such clock."""
        if clock == WALL:
            return wall_us
        row = self._row(clock)
        return int(row.anchor_value + (wall_us - row.anchor_wall) * max(row.rate_ppm, 0) // NORMAL_RATE_PPM)

    def shown_at(self, clock: str, wall_us: int) -> int:
        """The same, but before its anchor a clock shows what it did there: it stood still, as ``world`` does while the
        process is down."""
        return wall_us if clock == WALL else self.value_at(clock, max(wall_us, self._row(clock).anchor_wall))

    def wall_of(self, clock: str, value_us: int) -> int | None:
        """The first wall instant at which ``clock`` shows ``value_us``; None while it stands still before it."""
        if clock == WALL:
            return value_us
        row = self._row(clock)
        ahead = value_us - row.anchor_value
        if row.rate_ppm == NORMAL_RATE_PPM:
            return int(row.anchor_wall + ahead)
        if row.rate_ppm <= 0:
            return None if ahead > 0 else int(row.anchor_wall)
        return int(row.anchor_wall - (-ahead * NORMAL_RATE_PPM // row.rate_ppm))

    def _row(self, clock: str) -> Any:
        row = self._table.rows.get(clock)
        if row is None:
            known = ", ".join([WALL, *sorted(self._table.rows)])
            raise SenderError("bad_value", f"there is no clock {clock!r}; the clocks are {known}", clock=clock)
        return row
