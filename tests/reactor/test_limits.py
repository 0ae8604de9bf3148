"""``reactor.limits``: bounds that fit together."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from reactor.errors import InvariantError
from reactor.limits import DEFAULT_LIMITS, Limits


@pytest.mark.parametrize(
    "wrong",
    [
        {"timers_per_turn_max": 0},
        {"calls_per_turn_max": 0},
        {"inflight_per_connection_max": 200_000},
        {"send_queue_bytes_max": 10},
        {"payload_bytes_max": 1 << 30},
        {"call_budget_s": 500.0},
    ],
)
def test_limits_that_contradict_each_other_are_refused(wrong: dict[str, Any]) -> None:
    """A bound that another makes unreachable is a mistake of whoever set it."""
    with pytest.raises(InvariantError):
        Limits(**wrong)


def test_limits_are_values() -> None:
    """A test tightens a bound without touching the defaults."""
    tight = dataclasses.replace(DEFAULT_LIMITS, batch_calls_max=3)
    assert tight.batch_calls_max == 3
    assert DEFAULT_LIMITS.batch_calls_max > 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        tight.batch_calls_max = 4  # type: ignore[misc]
