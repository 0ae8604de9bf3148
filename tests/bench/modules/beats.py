"""Timers whose handler changes one row, and the lateness it was told."""

from __future__ import annotations

import time
from typing import Any

from reactor import Context, Module, Timestamp, primary_key

TARGETS = 1_000

beats = module = Module("beats")

# Told by a reducer, so that measuring adds nothing to the commits that are measured.
_told_us: list[int] = []
_real_us: list[int] = []


@beats.table(public=True)
class Target:
    """What a timer changes."""

    id: int = primary_key()
    hits: int


@beats.table(scheduled="strike")
class Beat:
    """One timer."""

    scheduled_id: int = primary_key(auto=True)
    scheduled_at: Timestamp
    target: int


@beats.init
def place(ctx: Context) -> None:
    """Fill the table of targets."""
    for number in range(TARGETS):
        ctx.db.target.insert(id=number, hits=0)


@beats.reducer
def strike(ctx: Context, beat: Any) -> None:
    """A beat is due."""
    targets = ctx.db.target
    row = targets.require(beat.target)
    targets.update(row, hits=row.hits + 1)
    timer = ctx.timer
    if timer is not None:
        now_us = time.time_ns() // 1_000
        _told_us.append(timer.lateness_us)
        _real_us.append(now_us - timer.due_at)


@beats.reducer
def arm(ctx: Context, count: int, first_due_us: int, gap_us: int) -> None:
    """Arm ``count`` timers, ``gap_us`` apart."""
    insert = ctx.db.beat.insert
    for number in range(count):
        insert(scheduled_at=first_due_us + number * gap_us, target=number % TARGETS)


@beats.reducer
def remaining(ctx: Context) -> int:
    """How many timers have not fired."""
    return len(ctx.db.beat)


@beats.reducer
def hit(ctx: Context) -> None:
    """A live call: changes one row, like a timer."""
    targets = ctx.db.target
    row = targets.require(0)
    targets.update(row, hits=row.hits + 1)


@beats.reducer
def lateness(ctx: Context) -> dict[str, Any]:
    """What the handler was told (``ctx.timer``), and what the clock showed when it ran: percentiles in µs."""
    return {"fired": len(_told_us), "told": _percentiles(_told_us), "real": _percentiles(_real_us)}


def _percentiles(values: list[int]) -> dict[str, int]:
    ordered = sorted(values) or [0]
    last = len(ordered) - 1
    return {"p50": ordered[last // 2], "p99": ordered[last * 99 // 100], "max": ordered[-1]}
