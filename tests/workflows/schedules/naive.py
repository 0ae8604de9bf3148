"""The same calendar, done the slow and obvious way: every minute of real time is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

MINUTE_US = 60_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


def us(text: str) -> int:
    """``2024-03-31T01:30`` (UTC) in µs."""
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)


def utc(instant_us: int) -> str:
    """µs as ``03-31 01:30`` UTC."""
    return (EPOCH + timedelta(microseconds=instant_us)).strftime("%m-%d %H:%M")


def field_fits(text: str, value: int, low: int, high: int) -> bool:
    """Numbers, ranges and steps only."""
    for item in text.split(","):
        body, _, step = item.partition("/")
        first, last = (low, high) if body == "*" else (int(body.split("-")[0]), int(body.split("-")[-1]))
        if value in range(first, last + 1, int(step or 1)):
            return True
    return False


def line_fits(line: str, local: datetime) -> bool:
    """Whether a local time fits the five fields."""
    minute, hour, day, month, weekday = line.split()
    if not field_fits(minute, local.minute, 0, 59) or not field_fits(hour, local.hour, 0, 23):
        return False
    on_day = field_fits(day, local.day, 1, 31)
    on_weekday = field_fits(weekday, local.isoweekday() % 7, 0, 6)
    either = not day.startswith("*") and not weekday.startswith("*")
    fits = (on_day or on_weekday) if either else (on_day and on_weekday)
    return fits and field_fits(month, local.month, 1, 12)


@lru_cache(maxsize=200)
def line_instants(line: str, zone: str, start: int, end: int) -> list[int]:
    """Those of ``look``, which takes its time."""
    return list(look(line, zone, start, end))


def look(line: str, zone: str, start: int, end: int) -> Iterator[int]:
    """Instants of one line from ``start`` (a whole minute) up to ``end``."""
    info = ZoneInfo(zone)
    every_hour = all(field_fits(line.split()[1], hour, 0, 23) for hour in range(24))
    for instant in range(start, end, MINUTE_US):
        when = EPOCH + timedelta(microseconds=instant)
        local = when.astimezone(info)
        if line_fits(line, local.replace(tzinfo=None)) and (local.fold == 0 or every_hour):
            yield instant
        # Local times that no clock shows, read by the clock as it was before: fold 0 does just that.
        for hours in (0.5, 1, 24):
            shifted = local.replace(tzinfo=None) - timedelta(hours=hours)
            was = shifted.replace(tzinfo=info)
            skipped = was.astimezone(UTC).astimezone(info).replace(tzinfo=None) != shifted
            if skipped and was.astimezone(UTC) == when and line_fits(line, shifted):
                yield instant


def occurrences(cron: list[str], zone: str, intervals: list[tuple[int, int]], start: int, end: int) -> list[int]:
    """All of them, each once, in order."""
    found = {instant for line in cron for instant in line_instants(line, zone, start, end)}
    for every, offset in intervals:
        found.update(range(start + (offset - start) % every, end, every))
    return sorted(found)
