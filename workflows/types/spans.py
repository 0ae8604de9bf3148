"""The spans of time and the counts that the built-in types take from clients, with their bounds.

What lies outside is refused to whoever sent it, before anything is stored.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from reactor.clock import MILLISECOND, days

PERIOD_US_MIN = 50 * MILLISECOND
"""What repeats by itself repeats no faster: twenty commits a second of one workflow are enough for a game."""
SPAN_US_MAX = days(36_525)
"""A hundred years. Far enough for any game, and near enough that no sum of times leaves the range of a column."""

Period = Annotated[int, msgspec.Meta(ge=PERIOD_US_MIN, le=SPAN_US_MAX)]
"""The time between two occurrences of something that repeats, µs."""
Span = Annotated[int, msgspec.Meta(gt=0, le=SPAN_US_MAX)]
"""How long something takes, µs."""
Wait = Annotated[int, msgspec.Meta(ge=0, le=SPAN_US_MAX)]
"""How long something takes, µs, if it takes any time at all."""
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
"""How many of something."""
