"""The module that is simulated: every kind of write whose loss, doubling or tearing would show in its tables.

``move`` touches two accounts, a counter and a receipt, so a torn call breaks a sum. A keyed call bumps a ``tally``, so
a second run shows as 2. A firing timer writes its own occurrence into ``firing`` and every arming is written down in
``arming``, so the two tables together say what was due and what has fired, without asking the engine.
"""

from __future__ import annotations

from reactor import CatchUp, Context, Duration, Module, SenderError, Timestamp, index, primary_key

ACCOUNTS = 12
OPENING_BALANCE = 1_000


def make_game() -> Module:
    """A fresh module; each simulated program has its own."""
    game = Module("game")

    @game.table(public=True, indexes=["zone", index("balance", ordered=True)])
    class Account:
        id: int = primary_key()
        zone: int | None = None
        balance: int = OPENING_BALANCE

    @game.table(public=True)
    class Region:
        id: int = primary_key()
        is_open: bool = False

    @game.table(public=True)
    class Receipt:
        token: str = primary_key()
        at: Timestamp

    @game.table(public=True)
    class Tally:
        token: str = primary_key()
        count: int = 0

    @game.table()
    class Counter:
        id: int = primary_key()
        moves: int = 0

    @game.table(scheduled="fire")
    class Alarm:
        scheduled_id: int = primary_key(auto=True)
        scheduled_at: Timestamp
        clock: str = "wall"
        interval: Duration | None = None
        catch_up: CatchUp = CatchUp.FIRE_ALL
        drop_after: Duration | None = None
        generation: int = 0
        missed: int = 0
        cancelled: bool = False

    @game.table(unique=[("alarm_id", "generation")])
    class Arming:
        id: int = primary_key(auto=True)
        alarm_id: int
        generation: int
        due: Timestamp
        clock: str
        interval: Duration | None
        catch_up: CatchUp
        ended: bool = False

    @game.table(public=True, indexes=["alarm_id"], unique=[("alarm_id", "generation", "due")])
    class Firing:
        id: int = primary_key(auto=True)
        alarm_id: int
        generation: int
        due: Timestamp
        missed: int
        lateness: Duration

    @game.init
    def fill(ctx: Context) -> None:
        for number in range(ACCOUNTS):
            ctx.db.account.insert(id=number, zone=number % 4 or None)
        for number in range(4):
            ctx.db.region.insert(id=number, is_open=number % 2 == 0)
        ctx.db.counter.insert(id=1)

    @game.reducer
    def move(ctx: Context, token: str, source: int, target: int, amount: int) -> int:
        accounts = ctx.db.account
        payer, payee = accounts.require(source), accounts.require(target)
        accounts.update(payer, balance=payer.balance - amount)
        accounts.update(payee, balance=accounts.require(target).balance + amount)
        counter = ctx.db.counter.require(1)
        ctx.db.counter.update(counter, moves=counter.moves + 1)
        ctx.db.receipt.insert(token=token, at=ctx.now)
        if amount == 13:
            raise SenderError("sender_error", "thirteen is refused, after everything was written")
        if amount == 17:
            raise ValueError("seventeen is a defect of the module")
        return int(counter.moves + 1)

    @game.reducer
    def relocate(ctx: Context, token: str, account: int, zone: int | None) -> None:
        ctx.db.account.update(account, zone=zone)
        ctx.db.receipt.insert(token=token, at=ctx.now)

    @game.reducer
    def toggle(ctx: Context, token: str, region: int) -> None:
        row = ctx.db.region.require(region)
        ctx.db.region.update(row, is_open=not row.is_open)
        ctx.db.receipt.insert(token=token, at=ctx.now)

    @game.reducer
    def count(ctx: Context, token: str) -> int:
        row = ctx.db.tally.get(token)
        if row is None:
            row = ctx.db.tally.insert(token=token)
        return int(ctx.db.tally.update(row, count=row.count + 1).count)

    @game.reducer
    def arm(ctx: Context, token: str, delay: int, interval: int | None, clock: str, catch_up: CatchUp) -> int:
        due = ctx.clock_value(clock) + delay
        row = ctx.db.alarm.insert(
            scheduled_at=due, clock=clock, interval=interval, catch_up=catch_up, drop_after=2_000_000
        )
        ctx.db.arming.insert(
            alarm_id=row.scheduled_id, generation=0, due=due, clock=clock, interval=interval, catch_up=catch_up
        )
        ctx.db.receipt.insert(token=token, at=ctx.now)
        return int(row.scheduled_id)

    @game.reducer
    def postpone(ctx: Context, token: str, alarm: int, delay: int) -> None:
        ctx.db.receipt.insert(token=token, at=ctx.now)
        row = ctx.db.alarm.get(alarm)
        if row is None or row.cancelled:
            return
        _end(ctx, row)
        due = ctx.clock_value(row.clock) + delay
        ctx.db.alarm.update(row, scheduled_at=due, generation=row.generation + 1, missed=0)
        ctx.db.arming.insert(
            alarm_id=alarm,
            generation=row.generation + 1,
            due=due,
            clock=row.clock,
            interval=row.interval,
            catch_up=row.catch_up,
        )

    @game.reducer
    def disarm(ctx: Context, token: str, alarm: int, keep: bool) -> None:
        ctx.db.receipt.insert(token=token, at=ctx.now)
        row = ctx.db.alarm.get(alarm)
        if row is None or row.cancelled:
            return
        _end(ctx, row)
        if keep:
            ctx.db.alarm.update(row, cancelled=True)
        else:
            ctx.db.alarm.delete(row)

    @game.reducer
    def fire(ctx: Context, row: Alarm) -> None:
        timer = ctx.timer
        assert timer is not None
        ctx.db.firing.insert(
            alarm_id=row.scheduled_id,
            generation=row.generation,
            due=timer.due_value,
            missed=timer.missed,
            lateness=timer.lateness_us,
        )

    return game


def _end(ctx: Context, row: object) -> None:
    """The arming that ``row`` stands for fires no more."""
    found = ctx.db.arming.first(alarm_id=row.scheduled_id, generation=row.generation)  # type: ignore[attr-defined]
    ctx.db.arming.update(found, ended=True)
