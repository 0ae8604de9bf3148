"""``reactor.scopes``: clocks that run at a rate, stand still, and are rewritten as one row (REQ-5)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.errors import SenderError
from reactor.limits import DEFAULT_LIMITS
from reactor.scopes import CLOCK_SCHEMA, NORMAL_RATE_PPM, WALL, WORLD, Scopes
from reactor.store import SEQUENCE_SCHEMA, Store


def _scopes(**rows: tuple[int, int, int]) -> Scopes:
    store = Store([SEQUENCE_SCHEMA, CLOCK_SCHEMA], {"reactor_sequence": 1, "clock": 2}, DEFAULT_LIMITS)
    store.begin()
    for scope, (wall, value, rate) in rows.items():
        store.tables["clock"].insert(scope=scope, anchor_wall=wall, anchor_value=value, rate_ppm=rate)
    return Scopes(store.tables["clock"])


def test_wall_is_the_wall() -> None:
    """No row, no conversion."""
    scopes = _scopes()
    assert scopes.exists(WALL)
    assert scopes.value_at(WALL, 77) == 77
    assert scopes.wall_of(WALL, 77) == 77


def test_req5_rates() -> None:
    """REQ-5: normal, half, double, and standing still."""
    scopes = _scopes(
        **{WORLD: (1000, 0, NORMAL_RATE_PPM), "slow": (1000, 50, 500_000), "fast": (1000, 50, 2_000_000)},
        still=(1000, 50, 0),
    )
    assert [scopes.value_at(c, 1100) for c in (WORLD, "slow", "fast", "still")] == [100, 100, 250, 50]
    assert [scopes.wall_of(c, 100) for c in (WORLD, "slow", "fast")] == [1100, 1100, 1025]
    assert scopes.wall_of("still", 51) is None
    assert scopes.wall_of("still", 50) == 1000


def test_a_clock_never_runs_backwards() -> None:
    """A negative rate stands still: nothing fires early and nothing fires twice."""
    scopes = _scopes(odd=(1000, 50, -1_000_000))
    assert scopes.value_at("odd", 2000) == 50
    assert scopes.wall_of("odd", 60) is None


@pytest.mark.parametrize("ask", [lambda s: s.value_at("zone:1", 5), lambda s: s.wall_of("zone:1", 5)])
def test_unknown_clocks_are_named(ask: Any) -> None:
    """The error lists those there are."""
    scopes = _scopes(**{WORLD: (0, 0, NORMAL_RATE_PPM)})
    assert not scopes.exists("zone:1")
    with pytest.raises(SenderError, match=r"'zone:1'; the clocks are wall, world"):
        ask(scopes)


@given(st.integers(0, 2**50), st.integers(-(2**50), 2**50), st.integers(1, 50_000_000), st.integers(-(2**50), 2**50))
def test_p3_the_wall_instant_is_the_first_that_is_not_early(wall: int, value: int, rate: int, wanted: int) -> None:
    """P3: at ``wall_of`` the clock shows the value; one µs before it does not yet."""
    scopes = _scopes(zone=(wall, value, rate))
    at = scopes.wall_of("zone", wanted)
    assert at is not None
    assert scopes.value_at("zone", at) >= wanted
    assert scopes.value_at("zone", at - 1) < wanted
