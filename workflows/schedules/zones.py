"""Time zones: which instants a local time stands for, also on the days when clocks are changed.

The rules, which are those of RFC 5545 (iCalendar), with cron's for a pace:

* A local time that is skipped (clocks go forward over it) counts from the clock as it was before: in Berlin
  ``30 2 * * *`` runs at 03:30 summer time, as long after 01:30 as on any day. Two times that fall together so are one.
* A local time that is doubled (clocks go back) means the first of the two. Only where the hour field names every hour
  does a line run in both, since it then means a pace: ``*/10 * * * *`` never pauses for an hour.
"""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from workflows.schedules.cron import CronLine

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SECOND_US = 1_000_000
_DAY_US = 86_400 * _SECOND_US
"""No change is longer than a day (Samoa skipped one), and no zone has two within one."""


class Change(NamedTuple):
    """The clocks are changed: from ``at`` on, local time is UTC plus ``after``; till then plus ``before`` (all µs)."""

    at: int
    before: int
    after: int


class Zone:
    """One IANA time zone. ``ValueError`` if there is none of that name."""

    def __init__(self, name: str) -> None:
        try:
            self._info = zoneinfo.ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"there is no time zone {name!r}; write one such as Europe/Berlin or UTC") from None
        self.name = name

    def offset(self, instant_us: int) -> int:
        """Local time minus UTC at an instant, in µs."""
        local = (_EPOCH + timedelta(microseconds=instant_us)).astimezone(self._info)
        return (local.utcoffset() or timedelta()) // _MICROSECOND

    def local(self, instant_us: int) -> str:
        """An instant as people there read it, such as ``2024-03-31T03:30:00+02:00``."""
        return (_EPOCH + timedelta(microseconds=instant_us)).astimezone(self._info).isoformat()

    def first_from(self, line: CronLine, start: int) -> int | None:
        """The first instant at or after ``start`` (µs UTC) that a cron line means; None for none in ten years."""
        while True:
            found = self._before_next_change(line, start)
            if found is None:
                return None
            change = self._first_change(start, found)
            if change is None or found < change.at:
                return found
            # Beyond a change of the clocks: looked for again from there, with the offset that holds then.
            start = change.at

    def _before_next_change(self, line: CronLine, start: int) -> int | None:
        """The first instant from ``start`` on, as if the clocks were never changed after it."""
        offset = self.offset(start)
        last = self._change_within(start - _DAY_US, start)
        floor = start + offset
        if last is not None and last.before > last.after and not line.every_hour:
            # These local times have been before.
            floor = max(floor, last.at + last.before)
        local = line.next_local(floor)
        found = None if local is None else local - offset
        if last is not None and last.before < last.after:
            skipped = line.next_local(start + last.before)
            if skipped is not None and skipped < last.at + last.after:
                found = skipped - last.before if found is None else min(found, skipped - last.before)
        return found

    def _first_change(self, start: int, until: int) -> Change | None:
        """The first change after ``start`` and not after ``until``."""
        while start < until:
            end = min(start + _DAY_US, until)
            change = self._change_within(start, end)
            if change is not None:
                return change
            start = end
        return None

    def _change_within(self, start: int, end: int) -> Change | None:
        """The change after ``start`` and not after ``end``, which are a day apart at most."""
        before, after = self.offset(start), self.offset(end)
        if before == after:
            return None
        # Changes happen at whole seconds.
        low, high = start // _SECOND_US, end // _SECOND_US
        while high - low > 1:
            middle = (low + high) // 2
            if self.offset(middle * _SECOND_US) == before:
                low = middle
            else:
                high = middle
        return Change(high * _SECOND_US, before, after)
