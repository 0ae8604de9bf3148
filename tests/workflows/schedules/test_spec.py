"""When schedules are due: cron lines as crontab(5) has them, intervals, and days on which clocks are changed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reactor import hours, minutes, seconds
from reactor.errors import SenderError
from tests.workflows.schedules.naive import MINUTE_US, occurrences, us, utc
from workflows.schedules.spec import Calendar, Interval, Spec, calendar_of


def instants(calendar: Calendar, start: int, end: int) -> list[int]:
    """All occurrences from ``start`` up to ``end``."""
    found: list[int] = []
    at = calendar.first_from(start)
    while at is not None and at < end:
        found.append(at)
        at = calendar.first_from(at + 1)
    return found


def times(line: str, zone: str, start: str, end: str) -> list[str]:
    """As UTC text, for people."""
    return [utc(at) for at in instants(Calendar(Spec([line], zone)), us(start), us(end))]


# -- clock changes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "line", "start", "end", "expected"),
    [
        # Berlin: 02:00 becomes 03:00 at 01:00 UTC. A time that is skipped counts from the clock as it was.
        ("Europe/Berlin", "30 2 * * *", "2024-03-30T00:00", "2024-04-01T12:00",
         "03-30 01:30, 03-31 01:30, 04-01 00:30"),
        # Two times that fall together are one.
        ("Europe/Berlin", "0 2,3 * * *", "2024-03-31T00:00", "2024-04-01T00:00",
         "03-31 01:00"),
        ("Europe/Berlin", "*/30 * * * *", "2024-03-31T00:00", "2024-03-31T02:01",
         "03-31 00:00, 03-31 00:30, 03-31 01:00, 03-31 01:30, 03-31 02:00"),
        # 03:00 becomes 02:00 at 01:00 UTC: a time of the day once, the first; a pace in both hours.
        ("Europe/Berlin", "30 2 * * *", "2024-10-26T00:00", "2024-10-28T12:00",
         "10-26 00:30, 10-27 00:30, 10-28 01:30"),
        ("Europe/Berlin", "*/30 * * * *", "2024-10-27T00:00", "2024-10-27T02:01",
         "10-27 00:00, 10-27 00:30, 10-27 01:00, 10-27 01:30, 10-27 02:00"),
        ("Europe/Berlin", "*/20 2 * * *", "2024-10-27T00:00", "2024-10-27T03:00",
         "10-27 00:00, 10-27 00:20, 10-27 00:40"),
        ("America/New_York", "30 2 * * *", "2024-03-09T00:00", "2024-03-11T12:00",
         "03-09 07:30, 03-10 07:30, 03-11 06:30"),
        ("America/New_York", "30 1 * * *", "2024-11-02T00:00", "2024-11-04T12:00",
         "11-02 05:30, 11-03 05:30, 11-04 06:30"),
        ("America/New_York", "30 * * * *", "2024-11-03T05:00", "2024-11-03T08:00",
         "11-03 05:30, 11-03 06:30, 11-03 07:30"),
        # Lord Howe changes by half an hour: 02:00 becomes 02:30 at 15:30 UTC the day before,
        # and 02:00 becomes 01:30 at 15:00 UTC.
        ("Australia/Lord_Howe", "15 2 * * *", "2024-10-04T00:00", "2024-10-07T00:00",
         "10-04 15:45, 10-05 15:45, 10-06 15:15"),
        ("Australia/Lord_Howe", "45 1 * * *", "2024-04-05T00:00", "2024-04-08T00:00",
         "04-05 14:45, 04-06 14:45, 04-07 15:15"),
        ("Australia/Lord_Howe", "*/15 * * * *", "2024-04-06T14:30", "2024-04-06T15:31",
         "04-06 14:30, 04-06 14:45, 04-06 15:00, 04-06 15:15, 04-06 15:30"),
        ("Australia/Lord_Howe", "15 * * * *", "2024-10-05T14:00", "2024-10-05T17:00",
         "10-05 14:45, 10-05 15:45, 10-05 16:15"),
        # Samoa skipped a whole day.
        ("Pacific/Apia", "0 12 * * *", "2011-12-29T00:00", "2012-01-01T00:00",
         "12-29 22:00, 12-30 22:00, 12-31 22:00"),
    ],
)  # fmt: skip
def test_clock_changes_neither_lose_nor_double(zone: str, line: str, start: str, end: str, expected: str) -> None:
    """D90: both directions, an hour and half an hour."""
    assert ", ".join(times(line, zone, start, end)) == expected


CHANGES = [
    ("Europe/Berlin", "2024-03-30T00:00"),
    ("Europe/Berlin", "2024-10-26T00:00"),
    ("America/New_York", "2024-03-09T00:00"),
    ("America/New_York", "2024-11-02T00:00"),
    ("Australia/Lord_Howe", "2024-04-06T00:00"),
    ("Australia/Lord_Howe", "2024-10-05T00:00"),
    ("America/Sao_Paulo", "2018-11-03T00:00"),
    ("Pacific/Apia", "2011-12-29T00:00"),
    ("UTC", "2024-02-28T00:00"),
]


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    """A list of numbers, a range, or all with or without a step."""
    number = st.integers(low, high)
    listed = st.lists(number, min_size=1, max_size=3, unique=True).map(lambda found: ",".join(map(str, found)))
    ranged = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    return st.one_of(st.just("*"), listed, ranged, st.integers(2, high - low).map(lambda step: f"*/{step}"))


LINES = st.tuples(numbers(0, 59), numbers(0, 23), st.one_of(st.just("*"), numbers(1, 31)), st.just("*"), numbers(0, 6))


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(CHANGES), st.lists(LINES.map(" ".join), min_size=1, max_size=2))
def test_any_line_around_any_change_of_clocks(change: tuple[str, str], cron: list[str]) -> None:
    """D90: what a look at every minute finds, and nothing else."""
    zone, begin = change
    start, end = us(begin), us(begin) + 48 * hours(1)
    calendar = Calendar(Spec(cron, zone))
    assert instants(calendar, start, end) == occurrences(cron, zone, [], start, end)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CHANGES), LINES.map(" ".join), st.integers(0, 48 * 60 - 1), st.integers(0, MINUTE_US - 1))
def test_the_next_one_does_not_depend_on_where_one_asks(
    change: tuple[str, str], line: str, minute: int, rest: int
) -> None:
    """D90: a restart, which asks from another instant, moves nothing."""
    zone, begin = change
    start, end = us(begin), us(begin) + 49 * hours(1)
    at = start + minute * MINUTE_US + rest
    later = [found for found in occurrences([line], zone, [], start, end) if found >= at]
    found = Calendar(Spec([line], zone)).first_from(at)
    assert found == later[0] if later else found is None or found >= end


# -- what lines mean -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # 2024-03-01 is a Friday. Sunday is 0 and 7, as in every crontab.
        ("0 0 * * 0", ["03-03 00:00", "03-10 00:00"]),
        ("0 0 * * 7", ["03-03 00:00", "03-10 00:00"]),
        ("0 0 * * fri-sat", ["03-01 00:00", "03-02 00:00", "03-08 00:00", "03-09 00:00"]),
        ("0 0 * * 5-7", ["03-01 00:00", "03-02 00:00", "03-03 00:00", "03-08 00:00", "03-09 00:00", "03-10 00:00"]),
        ("0 0 * * mon-fri/2", ["03-01 00:00", "03-04 00:00", "03-06 00:00", "03-08 00:00"]),
        # Day and weekday: either.
        ("0 0 5 * sun", ["03-03 00:00", "03-05 00:00", "03-10 00:00"]),
        ("0 0 */5 * sun", []),
        ("0 12 5,last * ?", ["03-05 12:00"]),
        ("@weekly", ["03-03 00:00", "03-10 00:00"]),
        ("0 0 5 MAR *", ["03-05 00:00"]),
        ("15 30 4 5 * *", ["03-05 04:30"]),
    ],
)  # fmt: skip
def test_lines_mean_what_crontab_says(line: str, expected: list[str]) -> None:
    """D90: weekday numbers, either of day and weekday, names with steps, six fields."""
    assert times(line, "UTC", "2024-03-01T00:00", "2024-03-11T00:00") == expected


def test_the_last_day_and_seconds() -> None:
    """D90: `last` in every month; a sixth field in front counts seconds."""
    assert times("0 0 last * *", "UTC", "2024-01-15T00:00", "2024-05-01T00:00") == [
        "01-31 00:00", "02-29 00:00", "03-31 00:00", "04-30 00:00"
    ]  # fmt: skip
    calendar = Calendar(Spec(["*/20 * * * * *"]))
    start = us("2024-01-01T00:00")
    assert instants(calendar, start, start + minutes(1)) == [start, start + seconds(20), start + seconds(40)]


def test_rare_dates_are_found_and_impossible_ones_are_not() -> None:
    """D90: 29 February, eight years off around 2100; 30 February never."""
    assert utc(Calendar(Spec(["0 0 29 2 *"])).first_from(us("2096-03-01T00:00")) or 0) == "02-29 00:00"
    assert Calendar(Spec(["0 0 30 2 *"])).first_from(us("2024-01-01T00:00")) is None


def test_lines_and_intervals_together() -> None:
    """D90: the earliest wins, and what falls together is one."""
    calendar = Calendar(Spec(["0 * * * *"], "UTC", [Interval("PT40M", "PT10M"), "PT30M"]))
    start = us("2024-01-01T00:00")
    assert [(at - start) // minutes(1) for at in instants(calendar, start, start + hours(2))] == sorted(
        {0, 60, *range(10, 120, 40), *range(0, 120, 30)}
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5_000), st.integers(0, 5_000), st.integers(-9, 20_000), st.booleans())
def test_counting_what_was_missed(every_s: int, first_s: int, length_s: int, alone: bool) -> None:
    """B72: counted without looking at each where that can be, with the same answer."""
    every = seconds(every_s)
    intervals: list[Interval | str] = [Interval(every)] if alone else [Interval(every), Interval(every)]
    calendar = Calendar(Spec(intervals=intervals))
    first = calendar.first_from(us("2024-01-01T00:00") + seconds(first_s)) or 0
    count, last = calendar.missed(first, first + seconds(length_s), 100_000)
    expected = list(range(first, first + max(seconds(length_s), 1), every))
    assert (count, last) == (len(expected), expected[-1])


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "parameter", "told"),
    [
        ({}, "spec", "give it cron lines"),
        ({"cron": ["0 4 * *"]}, "spec.cron[0]", "it has 4 fields"),
        ({"cron": ["0 4 * * *", "61 * * * *"]}, "spec.cron[1]", "minute '61': it goes from 0 to 59"),
        ({"cron": ["* 22-2 * * *"]}, "spec.cron[0]", "write 22-23,0-2"),
        ({"cron": ["*/90 * * * *"]}, "spec.cron[0]", "use an interval"),
        ({"cron": ["*/0 * * * *"]}, "spec.cron[0]", "a step is from 1"),
        ({"cron": ["0 4 * * someday"]}, "spec.cron[0]", "sun, mon"),
        ({"cron": ["0 4 lastxyz * *"]}, "spec.cron[0]", "day 'lastxyz'"),
        ({"cron": ["a, * * * *"]}, "spec.cron[0]", "minute"),
        ({"cron": ["0 4 * * *"], "time_zone": "Mars/Olympus"}, "spec.time_zone", "such as Europe/Berlin"),
        ({"cron": ["0 4 * * *"], "time_zone": "../../etc/passwd"}, "spec.time_zone", "such as Europe/Berlin"),
        ({"cron": ["0 4 * * *"], "time_zone": ""}, "spec.time_zone", "such as Europe/Berlin"),
        ({"cron": ["0 4 * * *"], "zone": "UTC"}, "spec", "unknown field `zone`"),
        ({"intervals": ["1h"]}, "spec.intervals[0].every", "write one such as PT15M"),
        ({"intervals": ["P1M"]}, "spec.intervals[0].every", "use a cron line"),
        ({"intervals": ["PT"]}, "spec.intervals[0].every", "is no duration"),
        ({"intervals": ["PT0.5S"]}, "spec.intervals[0].every", "from one second"),
        ({"intervals": [{"every": "PT1H", "offset": "PT1H"}]}, "spec.intervals[0].offset", "up to the interval"),
        ({"intervals": [{"every": 10}]}, "spec.intervals[0].every", "from one second"),
        ({"intervals": ["PT1H"] * 51}, "spec", "more than 50"),
    ],
)  # fmt: skip
def test_bad_specs_name_the_field_and_the_remedy(spec: Any, parameter: str, told: str) -> None:
    """B81: refused before anything is stored."""
    with pytest.raises(SenderError) as caught:
        calendar_of(spec)
    assert caught.value.code == "bad_arguments"
    assert caught.value.details["parameter"] == parameter
    assert told in caught.value.message


@pytest.mark.parametrize(
    "spec",
    [
        Spec(intervals=["P" + "9" * 5_000 + "D"]),
        Spec(intervals=["PT" + "9" * 13 + "S"]),
        Spec(["9" * 5_000 + " * * * *"]),
        Spec(["*/" + "9" * 5_000 + " * * * *"]),
        Spec(["1-" + "9" * 5_000 + " * * * *"]),
    ],
)
def test_numbers_without_end_are_refused(spec: Spec) -> None:
    """D90: as any other line that means nothing."""
    with pytest.raises(SenderError) as refused:
        Calendar(spec)
    assert refused.value.code == "bad_arguments"
