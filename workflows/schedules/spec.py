"""When a schedule is due: cron lines in a time zone, intervals, or both; the earliest wins.

``Spec`` is what people write and what is stored; ``Calendar`` is the same ready to be asked. All of it depends on the
spec alone: no clock, no chance.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import orjson

from reactor.clock import DAY, HOUR, MINUTE, SECOND
from reactor.errors import SenderError
from workflows.amounts import Whole
from workflows.schedules.cron import CronError, CronLine
from workflows.schedules.zones import Zone

INTERVAL_MIN_US = SECOND
"""What must happen more often is a timer of a workflow, not a schedule."""
PARTS_MAX = 50
"""Cron lines and intervals of one spec."""

_DURATION = re.compile(
    r"P(?:(?P<w>\d{1,12})W)?(?:(?P<d>\d{1,12})D)?"
    r"(?:T(?:(?P<h>\d{1,12})H)?(?:(?P<m>\d{1,12})M)?(?:(?P<s>\d{1,12})(?:\.(?P<f>\d{1,6}))?S)?)?\Z",
    re.ASCII,
)
_UNITS = {"w": 7 * DAY, "d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND}


class Interval(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Every ``every``, counted from 1970-01-01T00:00Z plus ``offset``; each is ISO 8601 (``PT15M``) or µs."""

    every: Whole | str
    offset: Whole | str = 0


class Spec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """``cron`` lines are read in ``time_zone`` (IANA). An interval given as text has no offset."""

    cron: list[str] = []
    time_zone: str = "UTC"
    intervals: list[Interval | str] = []


class Missed(NamedTuple):
    """Occurrences that are left out: how many, and the last of them."""

    number: int
    last: int


class Calendar:
    """The occurrences of one spec: instants in µs UTC, each once. ``SenderError`` ``bad_arguments`` if it is wrong."""

    def __init__(self, spec: Spec) -> None:
        if not spec.cron and not spec.intervals:
            raise _wrong("spec", 'give it cron lines, {"cron": ["0 4 * * *"]}, or intervals, {"intervals": ["PT1H"]}')
        if len(spec.cron) + len(spec.intervals) > PARTS_MAX:
            raise _wrong("spec", f"it has more than {PARTS_MAX} lines; make it several schedules")
        try:
            self._zone = Zone(spec.time_zone)
        except ValueError as error:
            raise _wrong("spec.time_zone", str(error)) from None
        self._lines = [_line(at, text) for at, text in enumerate(spec.cron)]
        self._intervals = [_interval(at, given) for at, given in enumerate(spec.intervals)]

    def first_from(self, start: int) -> int | None:
        """The first occurrence at or after ``start``; None if there is none for ten years."""
        found = [start + (offset - start) % every for every, offset in self._intervals]
        try:
            for line in self._lines:
                instant = self._zone.first_from(line, start)
                if instant is not None:
                    found.append(instant)
        except OverflowError:
            return None
        return min(found, default=None)

    def missed(self, first: int, before: int, limit: int) -> Missed:
        """Occurrences from ``first``, which is one and counts, up to ``before``, which does not.

        At most ``limit`` at a time, except where they can be counted without looking at each.
        """
        if not self._lines and len(self._intervals) == 1:
            every = self._intervals[0][0]
            more = max((before - 1 - first) // every, 0)
            return Missed(1 + more, first + more * every)
        count, last = 1, first
        while count < limit:
            instant = self.first_from(last + 1)
            if instant is None or instant >= before:
                break
            count, last = count + 1, instant
        return Missed(count, last)

    def local(self, instant: int) -> str:
        """An instant as people in the time zone read it."""
        return self._zone.local(instant)


def calendar_of(stored: Any) -> Calendar:
    """The calendar of a stored spec; ``SenderError`` ``bad_arguments`` if it cannot be read (any more)."""
    return _calendar(orjson.dumps(stored))


@lru_cache(maxsize=1024)
def _calendar(stored: bytes) -> Calendar:
    try:
        return Calendar(msgspec.json.decode(stored, type=Spec))
    except msgspec.ValidationError as error:
        raise _wrong("spec", str(error)) from None


def duration_us(given: int | str, field: str) -> int:
    """µs of a number of µs or an ISO 8601 duration; ``SenderError`` ``bad_arguments`` naming ``field``."""
    if isinstance(given, int):
        return given
    match = _DURATION.match(given)
    found = {} if match is None else {unit: text for unit, text in match.groupdict().items() if text is not None}
    if not found:
        raise _wrong(
            field,
            f"{given!r} is no duration; write one such as PT15M, PT1H30M, P1D or P2W, or whole microseconds. "
            "Months and years have no fixed length: use a cron line",
        )
    fraction = int(found.pop("f", "0").ljust(6, "0"))
    return sum(int(text) * _UNITS[unit] for unit, text in found.items()) + fraction


def _line(at: int, text: str) -> CronLine:
    try:
        return CronLine(text)
    except CronError as error:
        raise _wrong(f"spec.cron[{at}]", f"{text!r}: {error}") from None


def _interval(at: int, given: Interval | str) -> tuple[int, int]:
    where = f"spec.intervals[{at}]"
    told = Interval(given) if isinstance(given, str) else given
    every = duration_us(told.every, f"{where}.every")
    offset = duration_us(told.offset, f"{where}.offset")
    if not INTERVAL_MIN_US <= every <= 36_500 * DAY:
        raise _wrong(f"{where}.every", f"{told.every!r} is not from one second to a hundred years")
    if not 0 <= offset < every:
        raise _wrong(f"{where}.offset", f"{told.offset!r} is not from 0 up to the interval itself")
    return every, offset


def _wrong(field: str, how: str) -> SenderError:
    return SenderError("bad_arguments", f"{field}: {how}", parameter=field)
