"""A scheduled table: its rows are timers. Here they ring at an interval, and make up for silence in three ways.

    reactor run examples/schedule.py
    reactor call hang '["noon", 5000000, "coalesce"]'       # every five seconds; times are microseconds
    reactor subscribe "SELECT * FROM ring"                  # then stop the server for a while

``python -m examples.schedule`` plays it, with a crash, on the simulated clock.
"""

from __future__ import annotations

from reactor import CatchUp, Context, Duration, Module, Timestamp, primary_key, seconds
from reactor.testing import Rig

module = Module("schedule")


@module.table(public=True, scheduled="ring_bell")
class Bell:
    """A timer. Two columns are needed; without ``interval`` it rings once, without ``missed`` gaps are not told."""

    scheduled_id: int = primary_key(auto=True)
    scheduled_at: Timestamp
    interval: Duration | None = None
    catch_up: CatchUp = CatchUp.FIRE_ALL
    missed: int = 0
    name: str


@module.table(public=True)
class Ring:
    """What was heard."""

    id: int = primary_key(auto=True)
    bell: str
    due_at: Timestamp
    late_us: Duration
    missed: int


@module.reducer
def hang(ctx: Context, name: str, interval_us: int, catch_up: CatchUp = CatchUp.FIRE_ALL) -> int:
    """Hang up a bell; it rings one interval from now for the first time. Deleting its row takes it down."""
    bell = ctx.db.bell.insert(name=name, scheduled_at=ctx.now + interval_us, interval=interval_us, catch_up=catch_up)
    return int(bell.scheduled_id)


@module.reducer
def ring_bell(ctx: Context, bell: Bell) -> None:
    """Run when a row of ``bell`` is due, in one commit with the row's next due time. No client can call it.

    ``ctx.now`` is the instant the bell was *due*, so what is computed from it never drifts.
    """
    timer = ctx.timer
    if timer is not None:
        ctx.db.ring.insert(bell=bell.name, due_at=ctx.now, late_us=timer.lateness_us, missed=timer.missed)


def main() -> None:
    """Three bells ring every ten seconds; the server is dead from second 15 to second 45."""
    with Rig(module) as rig:
        start = rig.clock.now()
        for policy in (CatchUp.FIRE_ALL, CatchUp.COALESCE, CatchUp.SKIP):
            rig.call("hang", policy.value, seconds(10), policy.value)
        rig.advance(seconds(15))
        rig.crash()
        rig.advance(seconds(30))
        rig.reopen()
        rig.advance(seconds(10))
        for ring in rig.rows("ring"):
            due, late = (ring.due_at - start) // seconds(1), ring.late_us // seconds(1)
            print(f"{ring.bell:9} due at {due:2} s, {late:2} s late, stands for {ring.missed} more")


if __name__ == "__main__":
    main()
