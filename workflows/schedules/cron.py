"""Cron lines, read as crontab(5) reads them, and when the local clock next shows a time that fits one.

APScheduler's ``CronTrigger`` computes the times. It is given a clock without changes (UTC) and plain numbers, because
on its own it differs from what people write in crontabs: it counts weekdays from Monday, it wants day and weekday to
fit both where cron wants either, it ignores a step after names (``mon-fri/2``), it runs ``30 2 * * *`` twice where an
hour is doubled, and gives one instant twice where an hour is skipped. What becomes of local times on such days is
decided in ``zones``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from apscheduler.triggers.cron import CronTrigger

HORIZON_YEARS = 10
"""How far ahead is looked: the rarest date, 29 February, is eight years away at most."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_HORIZON = timedelta(days=366 * HORIZON_YEARS)

_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_ITEM = re.compile(
    r"(?:(?P<all>[*?])|(?P<first>[0-9]{1,4}|[a-z]+)(?:-(?P<last>[0-9]{1,4}|[a-z]+))?)(?:/(?P<step>[0-9]{1,4}))?\Z"
)


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: Mapping[str, int] = {}


_SECOND = _Field("second", 0, 59)
_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day", 1, 31),
    _Field("month", 1, 12, {name: at for at, name in enumerate(_MONTHS, 1)}),
    _Field("weekday", 0, 7, {name: at for at, name in enumerate(_WEEKDAYS)}),
)


class CronError(ValueError):
    """A line that is no cron line; the message says which field and what would do."""


class CronLine:
    """One line, such as ``30 2 * * mon-fri``, with a field for seconds in front if it has six.

    ``every_hour``: its hour field names all hours, so it means a pace and not a time of the day.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        expanded = _MACROS.get(text.strip().lower(), text)
        parts = expanded.lower().split()
        if len(parts) not in (5, 6):
            raise CronError(
                f"it has {len(parts)} fields; write minute hour day month weekday, with second in front if wanted, "
                f"or one of {', '.join(_MACROS)}"
            )
        second = _values(_SECOND, parts[0]) if len(parts) == 6 else {0}
        minute, hour, day, month, weekday = (
            _values(field, part) for field, part in zip(_FIELDS, parts[-5:], strict=True)
        )
        self.every_hour = len(hour) == 24
        times = {
            "second": _listed(_SECOND, second),
            "minute": _listed(_FIELDS[0], minute),
            "hour": _listed(_FIELDS[1], hour),
            "month": _listed(_FIELDS[3], month),
        }
        days, weekdays = {"day": _listed(_FIELDS[2], day)}, {"day_of_week": _weekday_names(weekday)}
        # Where both are restricted either will do, as crontab(5) has it: "0 4 1 * mon" is the first and every Monday.
        either = not (parts[-3].startswith(("*", "?")) or parts[-1].startswith(("*", "?")))
        dates = [days, weekdays] if either else [{**days, **weekdays}]
        self._triggers: list[Any] = [CronTrigger(**times, **date, timezone=UTC) for date in dates]

    def next_local(self, local_us: int) -> int | None:
        """The first time that fits, at or after ``local_us``: µs since 1970 as a clock on the wall would count.

        None if there is none for ten years.
        """
        try:
            begin = _EPOCH + timedelta(microseconds=local_us)
            end = begin + _HORIZON
        except OverflowError:
            return None
        found: list[int] = []
        for trigger in self._triggers:
            trigger.end_date = end
            fits = trigger.get_next_fire_time(None, begin)
            if fits is not None:
                found.append((fits - _EPOCH) // _MICROSECOND)
        return min(found, default=None)


def _values(field: _Field, text: str) -> set[int]:
    """The values a field allows; -1 stands for the last day of the month."""
    found: set[int] = set()
    for item in text.split(","):
        if field.name == "day" and item in ("l", "last"):
            found.add(-1)
        else:
            found.update(_item(field, item))
    return {value % 7 for value in found} if field.name == "weekday" else found


def _item(field: _Field, item: str) -> range:
    match = _ITEM.match(item)
    if match is None:
        raise _wrong(field, item, f"write *, {field.low}, {field.low}-{field.high}, */2, or several with commas")
    step = int(match["step"] or 1)
    if match["all"] is not None:
        # Weekday 7 is Sunday again: of * there are seven.
        first, last = field.low, field.high - (field.name == "weekday")
    else:
        first = _value(field, item, match["first"])
        last = first if match["last"] is None else _value(field, item, match["last"])
        if match["last"] is None and match["step"] is not None:
            last = field.high
    if first > last:
        raise _wrong(field, item, f"a range goes up; write {first}-{field.high},{field.low}-{last}")
    if step < 1 or (match["step"] is not None and step > field.high - field.low):
        raise _wrong(field, item, f"a step is from 1 to {field.high - field.low}; for a longer pace use an interval")
    return range(first, last + 1, step)


def _value(field: _Field, item: str, text: str) -> int:
    if text in field.names:
        return field.names[text]
    if not text.isdigit():
        known = f"numbers or {', '.join(field.names)}" if field.names else "numbers"
        raise _wrong(field, item, f"it takes {known}")
    value = int(text)
    if not field.low <= value <= field.high:
        raise _wrong(field, item, f"it goes from {field.low} to {field.high}")
    return value


def _wrong(field: _Field, item: str, how: str) -> CronError:
    return CronError(f"{field.name} {item!r}: {how}")


def _listed(field: _Field, values: set[int]) -> str:
    if len(values - {-1}) == field.high - field.low + 1:
        return "*"
    return ",".join("last" if value == -1 else str(value) for value in sorted(values))


def _weekday_names(values: set[int]) -> str:
    return "*" if len(values) == 7 else ",".join(_WEEKDAYS[value] for value in sorted(values))
