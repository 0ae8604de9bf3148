"""The table of statuses and what may happen in each."""

from __future__ import annotations

import pytest

from reactor.errors import InvariantError
from workflows.life import LIFE, LIVE, TERMINAL, Move, Status, follow, is_awake, is_live


def test_every_status_is_in_the_table() -> None:
    """A41: the table is complete, and its edges lead to statuses it knows."""
    assert set(LIFE) == set(Status)
    assert {after for moves in LIFE.values() for after in moves.values()} <= set(Status)


def test_nothing_leaves_a_terminal_status() -> None:
    """A41, F6: whatever happens to an ended workflow is no edge of the table."""
    ends = {Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.TERMINATED, Status.TIMED_OUT}
    assert ends == TERMINAL
    for status in TERMINAL:
        for move in Move:
            with pytest.raises(InvariantError, match=f"is {status} cannot be {move}"):
                follow(status, move)


def test_every_terminal_status_can_be_reached_from_every_live_one() -> None:
    """Walks the table: no live status is a trap, and none of the ends is unreachable."""
    for start in LIVE:
        reached, open_ = {start}, [start]
        while open_:
            for after in LIFE[open_.pop()].values():
                if after not in reached:
                    reached.add(after)
                    open_.append(after)
        assert reached >= TERMINAL


def test_only_what_is_awake_takes_steps() -> None:
    """B50, REQ-11: what is not begun, paused or faulted is live and takes none."""
    awake = {status for status in Status if is_awake(status)}
    assert awake == {Status.RUNNING, Status.SUSPENDED}
    assert set(LIVE - awake) == {Status.PENDING, Status.PAUSED, Status.FAULTED}


def test_whatever_is_live_can_be_ended_from_outside() -> None:
    """D70, D71, E34: cancel, terminate and time out have an edge from every live status and lead where they say."""
    for status in LIVE:
        assert follow(status, Move.CANCEL) is Status.CANCELLED
        assert follow(status, Move.TERMINATE) is Status.TERMINATED
        assert follow(status, Move.TIME_OUT) is Status.TIMED_OUT


def test_only_live_statuses_are_live() -> None:
    """``is_live`` says what the table says."""
    assert {status for status in Status if is_live(status)} == LIVE == set(Status) - TERMINAL


def test_statuses_read_as_the_monitoring_queries_write_them() -> None:
    """A100: the text in SQL."""
    live = ["Pending", "Running", "Suspended", "Paused", "Faulted"]
    assert [str(s) for s in Status] == [*live, "Completed", "Failed", "Cancelled", "Terminated", "TimedOut"]
    assert {str(s) for s in LIVE} == set(live)
