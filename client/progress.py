"""Progress without ticks: how long a timer still has, computed from rows that change only when plans change.

A timer's due value is kept in its own clock. ``wall`` is the server's wall clock; every other clock is a row of the
``clock`` table: at wall instant ``anchor_wall`` it showed ``anchor_value``, and since then it runs at ``rate_ppm``
millionths of the wall's speed. Subscribe to the timer rows and to ``clock``, and a progress bar can be drawn at any
frame rate without a message.

All values are integer microseconds; instants are UTC. ``ClockEstimate`` supplies the server's time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

NORMAL_RATE_PPM = 1_000_000


class ClockRow(Protocol):
    """What is needed of a row of the ``clock`` table; rows of the mirror have it."""

    @property
    def anchor_wall(self) -> int:
        """The wall instant of the anchor, microseconds."""

    @property
    def anchor_value(self) -> int:
        """What the clock showed then, microseconds."""

    @property
    def rate_ppm(self) -> int:
        """Its speed since, in millionths of the wall's; 0 stands still."""


def clock_value_us(clock: ClockRow | None, server_now_us: int) -> int:
    """What a clock shows at the server's wall time ``server_now_us``; None stands for ``wall`` itself."""
    if clock is None:
        return server_now_us
    return clock.anchor_value + (server_now_us - clock.anchor_wall) * clock.rate_ppm // NORMAL_RATE_PPM


def remaining_us(due_us: int, clock: ClockRow | None, server_now_us: int) -> int | None:
    """Wall microseconds until a timer is due: 0 if it is, None while its clock stands still before that."""
    ahead = due_us - clock_value_us(clock, server_now_us)
    if ahead <= 0:
        return 0
    if clock is None:
        return ahead
    if clock.rate_ppm == 0:
        return None
    # From the anchor and rounded up, as the server does it: never shown as over before it is.
    from_anchor = (due_us - clock.anchor_value) * NORMAL_RATE_PPM
    due_wall = clock.anchor_wall - (-from_anchor // clock.rate_ppm)
    return max(0, due_wall - server_now_us)


def elapsed_share(start_us: int, due_us: int, clock: ClockRow | None, server_now_us: int) -> float:
    """How much of the way from ``start_us`` to ``due_us`` (both in the timer's clock) lies behind: 0.0 to 1.0."""
    if due_us <= start_us:
        return 1.0
    passed = clock_value_us(clock, server_now_us) - start_us
    return min(1.0, max(0.0, passed / (due_us - start_us)))


@dataclass(frozen=True, slots=True)
class TimeSample:
    """One question for the time. ``offset_us``: server's wall minus local clock; wrong by at most ``error_us``."""

    offset_us: int
    round_trip_us: int

    @property
    def error_us(self) -> int:
        """Bound on the error: half of the round trip."""
        return (self.round_trip_us + 1) // 2


class ClockEstimate:
    """The server's wall clock as seen from here, by halving the round trip of ``time`` requests.

    The sample with the shortest round trip of the last few counts: a slow answer says little. The local clock is any
    that counts microseconds steadily; the caller reads it and hands the values in.
    """

    KEPT_SAMPLES = 8

    def __init__(self) -> None:
        self._samples: list[TimeSample] = []
        self._guess: int | None = None

    def greeting(self, local_us: int, server_us: int) -> None:
        """A first guess from the greeting, late by one way; forgotten at the first real sample.

        A new connection may be to another machine, so older samples are dropped.
        """
        self._samples = []
        self._guess = server_us - local_us

    def sample(self, sent_us: int, received_us: int, server_us: int) -> TimeSample:
        """Take in one answer: local times of asking and hearing, and the server's time in between."""
        middle = sent_us + (received_us - sent_us) // 2
        sample = TimeSample(server_us - middle, received_us - sent_us)
        self._samples = [*self._samples[1 - self.KEPT_SAMPLES :], sample]
        return sample

    @property
    def best(self) -> TimeSample | None:
        """The sample that counts, or None before the first."""
        return min(self._samples, key=lambda sample: sample.round_trip_us, default=None)

    def now_us(self, local_us: int) -> int:
        """The server's wall time when the local clock shows ``local_us``. Raises ``LookupError`` before a greeting."""
        best = self.best
        offset = best.offset_us if best else self._guess
        if offset is None:
            raise LookupError("the server has not told its time yet")
        return local_us + offset
