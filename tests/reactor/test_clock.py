"""``reactor.clock``: the only place that asks what time it is."""

from __future__ import annotations

import time

import pytest

from reactor.clock import SimulatedClock, SystemClock, days, hours, milliseconds, minutes, seconds


def test_durations_are_microseconds() -> None:
    """Units as an author writes them."""
    assert milliseconds(1.5) == 1_500
    assert [f(1) for f in (seconds, minutes, hours, days)] == [
        1_000_000,
        60_000_000,
        3_600_000_000,
        86_400_000_000,
    ]


def test_simulated_clock_never_goes_back() -> None:
    """It stands still until it is told to move, and moves forward only."""
    simulated = SimulatedClock(100)
    assert simulated.now() == simulated.now() == 100
    simulated.advance(5)
    simulated.move_to(50)
    assert simulated.now() == 105


class _Machine:
    """A wall clock and a monotonic clock that can be set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall_us = 1_000_000_000
        self.monotonic_us = 5
        monkeypatch.setattr(time, "time_ns", lambda: self.wall_us * 1000)
        monkeypatch.setattr(time, "monotonic_ns", lambda: self.monotonic_us * 1000)

    def pass_time(self, us: int) -> None:
        """Both go on."""
        self.wall_us += us
        self.monotonic_us += us


def test_b4_a_wall_clock_set_back_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """B4: no timer waits twice and no interval stops when someone sets the clock back."""
    machine = _Machine(monkeypatch)
    system = SystemClock()
    machine.pass_time(1000)
    before = system.now()
    machine.wall_us -= 10_000_000
    assert system.follow_wall() == 0
    machine.pass_time(10)
    assert system.now() == before + 10


def test_a_wall_clock_set_forward_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By as much as it jumped; small corrections are left to the next start."""
    machine = _Machine(monkeypatch)
    system = SystemClock()
    assert system.now() == machine.wall_us
    machine.wall_us += 100_000
    assert system.follow_wall() == 0
    machine.wall_us += 3_000_000
    assert system.follow_wall() == 3_100_000
    assert system.now() == machine.wall_us
