"""How long the record of a run may grow, and how near it is."""

from __future__ import annotations

import enum

import msgspec


class Pressure(enum.StrEnum):
    """How near a run is to the end of its budget."""

    OK = "ok"
    APPROACHING = "approaching"
    """Four fifths of a soft limit are used."""
    RECOMMENDED = "recommended"
    """A soft limit is passed: continue as new soon."""


class HistoryBudget(msgspec.Struct, frozen=True):
    """Soft and hard limits of one run's record: events, bytes, and things awaited at a time. 0 lifts a limit.

    A script sees the pressure and decides; past a hard limit its workflow ends as Failed, ``structural_limit``.
    """

    events_soft: int = 8_000
    events_max: int = 10_000
    bytes_soft: int = 4 << 20
    bytes_max: int = 5 << 20
    open_soft: int = 160
    open_max: int = 200

    def pressure(self, events: int, size: int, opened: int) -> Pressure:
        """The pressure of a record of so many events and bytes, with so many things awaited."""
        measures = ((events, self.events_soft), (size, self.bytes_soft), (opened, self.open_soft))
        used = max((value / soft for value, soft in measures if soft), default=0.0)
        if used >= 1:
            return Pressure.RECOMMENDED
        return Pressure.APPROACHING if used >= 0.8 else Pressure.OK

    def excess(self, events: int, size: int, opened: int) -> str | None:
        """What is past a hard limit, for people; None if nothing is."""
        for value, limit, what in (
            (events, self.events_max, "events"),
            (size, self.bytes_max, "bytes"),
            (opened, self.open_max, "things awaited at a time"),
        ):
            if limit and value > limit:
                return f"its record has {value} {what} and may have {limit}: continue as new in time"
        return None
