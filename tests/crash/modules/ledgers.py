"""Writes down everything it does, so that afterwards every loss and every repetition can be seen."""

from __future__ import annotations

from reactor import Context, Duration, Module, Timestamp, primary_key

ledgers = Module("ledgers")


@ledgers.table(public=True)
class Debit:
    """One half of every unkeyed call."""

    id: int = primary_key(auto=True)
    name: str


@ledgers.table(public=True)
class Credit:
    """The other half."""

    id: int = primary_key(auto=True)
    name: str


@ledgers.table(public=True)
class Keyed:
    """One row for each time a keyed call ran."""

    id: int = primary_key(auto=True)
    name: str


@ledgers.table(public=True, scheduled="ring")
class Alarm:
    """Fires once."""

    scheduled_id: int = primary_key(auto=True)
    scheduled_at: Timestamp
    name: str


@ledgers.table(public=True, scheduled="tick")
class Beat:
    """Fires at an interval, without end."""

    scheduled_id: int = primary_key(auto=True)
    scheduled_at: Timestamp
    interval: Duration
    started_at: Timestamp


@ledgers.table(public=True, indexes=["timer"])
class Firing:
    """One row for each time a timer fired. ``number`` counts the occurrences of a beat from 0."""

    id: int = primary_key(auto=True)
    kind: str
    timer: int
    number: int
    due_at: Timestamp
    fired_at: Timestamp


@ledgers.init
def start_beats(ctx: Context) -> None:
    """Three beats, so that ticks fall together and apart."""
    for interval in (20_000, 50_000, 70_000):
        first = ctx.now + interval
        ctx.db.beat.insert(scheduled_at=first, interval=interval, started_at=first)


@ledgers.reducer
def transfer(ctx: Context, name: str) -> int:
    """Write both halves."""
    ctx.db.debit.insert(name=name)
    credit: int = ctx.db.credit.insert(name=name).id
    return credit


@ledgers.reducer
def once(ctx: Context, name: str) -> int:
    """To be called with a key."""
    keyed: int = ctx.db.keyed.insert(name=name).id
    return keyed


@ledgers.reducer
def set_alarm(ctx: Context, name: str, delay_us: int) -> list[int]:
    """Set a one-shot timer; returns its id and due time."""
    row = ctx.db.alarm.insert(scheduled_at=ctx.now + delay_us, name=name)
    return [row.scheduled_id, row.scheduled_at]


@ledgers.reducer
def cancel_alarm(ctx: Context, alarm: int) -> bool:
    """Take a timer back; whether it was still there."""
    return bool(ctx.db.alarm.delete(alarm))


@ledgers.reducer
def ring(ctx: Context, alarm: Alarm) -> None:
    """An alarm is due."""
    ctx.db.firing.insert(
        kind="alarm", timer=alarm.scheduled_id, number=0, due_at=alarm.scheduled_at, fired_at=ctx.real_now
    )


@ledgers.reducer
def tick(ctx: Context, beat: Beat) -> None:
    """A beat is due."""
    number = (ctx.now - beat.started_at) // beat.interval
    ctx.db.firing.insert(kind="beat", timer=beat.scheduled_id, number=number, due_at=ctx.now, fired_at=ctx.real_now)
