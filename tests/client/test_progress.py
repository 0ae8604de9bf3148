"""Progress without ticks, the estimate of the server's time, and the waits between attempts."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.backoff import Backoff
from client.progress import ClockEstimate, clock_value_us, elapsed_share, remaining_us

WHOLE = st.integers(0, 1 << 53)


class Clock(NamedTuple):
    """A row of the ``clock`` table."""

    anchor_wall: int
    anchor_value: int
    rate_ppm: int


def test_wall_timers() -> None:
    """A timer of the wall clock needs no clock row."""
    assert remaining_us(1_500, None, 1_000) == 500
    assert remaining_us(1_500, None, 2_000) == 0
    assert elapsed_share(1_000, 2_000, None, 1_250) == 0.25


def test_clock_at_half_speed() -> None:
    """A clock at half speed takes twice as long."""
    clock = Clock(anchor_wall=10_000, anchor_value=500, rate_ppm=500_000)
    assert clock_value_us(clock, 11_000) == 1_000
    assert remaining_us(2_000, clock, 11_000) == 2_000
    assert elapsed_share(0, 2_000, clock, 11_000) == 0.5


def test_clock_that_stands_still() -> None:
    """While a clock stands still nothing that lies ahead has an end; what is due already is."""
    clock = Clock(anchor_wall=10_000, anchor_value=500, rate_ppm=0)
    assert remaining_us(501, clock, 99_000) is None
    assert remaining_us(500, clock, 99_000) == 0


def test_share_is_bounded() -> None:
    """The share stays between nothing and all, also for a timer without length."""
    assert elapsed_share(1_000, 2_000, None, 500) == 0.0
    assert elapsed_share(1_000, 2_000, None, 5_000) == 1.0
    assert elapsed_share(1_000, 1_000, None, 0) == 1.0


@given(due=WHOLE, now=WHOLE, clock=st.builds(Clock, WHOLE, WHOLE, st.integers(1, 10_000_000)))
def test_remaining_is_never_early(due: int, now: int, clock: Clock) -> None:
    """A timer is never shown as over before its clock has reached it, nor a microsecond later than that."""
    left = remaining_us(due, clock, now)
    assert left is not None
    assert clock_value_us(clock, now + left) >= due
    assert left == 0 or clock_value_us(clock, now + left - 1) < due


def test_server_time_by_halving_the_round_trip() -> None:
    """The sample with the shortest round trip counts; the greeting serves until there is one."""
    estimate = ClockEstimate()
    with pytest.raises(LookupError):
        estimate.now_us(0)
    estimate.greeting(local_us=100, server_us=5_100)
    assert estimate.now_us(200) == 5_200
    slow = estimate.sample(sent_us=1_000, received_us=1_900, server_us=6_800)
    assert (slow.offset_us, slow.round_trip_us, slow.error_us) == (5_350, 900, 450)
    estimate.sample(sent_us=2_000, received_us=2_010, server_us=7_045)
    estimate.sample(sent_us=3_000, received_us=3_500, server_us=9_999)
    assert estimate.now_us(0) == 5_040


def test_old_samples_are_forgotten() -> None:
    """Clocks drift: only the last few samples count, and none of another connection."""
    estimate = ClockEstimate()
    estimate.sample(0, 2, 1_001)
    for _ in range(ClockEstimate.KEPT_SAMPLES):
        estimate.sample(0, 100, 2_050)
    assert estimate.now_us(0) == 2_000
    estimate.greeting(0, 7_000)
    assert estimate.now_us(0) == 7_000


@given(true_offset=st.integers(-(10**15), 10**15), out=st.integers(0, 10**6), back=st.integers(0, 10**6))
def test_error_bound_holds(true_offset: int, out: int, back: int) -> None:
    """However unevenly the way is shared, the offset is wrong by at most the stated error."""
    sample = ClockEstimate().sample(0, out + back, out + true_offset)
    assert abs(sample.offset_us - true_offset) <= sample.error_us


def test_backoff_grows_to_its_cap_with_jitter() -> None:
    """Waits double up to the cap; the random share only shortens them."""
    backoff = Backoff(first_s=0.1, cap_s=1.0, jitter=0.5)
    assert [backoff.delay_s(n, lambda: 0.0) for n in range(1, 6)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0])
    assert backoff.delay_s(10_000, lambda: 1.0) == pytest.approx(0.5)


def test_backoff_gives_up_only_when_told() -> None:
    """Without a bound it tries for ever."""
    assert not Backoff().gives_up(10_000)
    assert Backoff(attempts_max=3).gives_up(3)
    assert not Backoff(attempts_max=3).gives_up(2)
