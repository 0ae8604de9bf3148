"""A module that does what tests of the doors need: good, slow and bad things."""

from __future__ import annotations

from reactor import Context, Module, SenderError, Timestamp, primary_key

playground = Module("playground")


@playground.table(public=True, indexes=["zone"], unique=["name"])
class Item:
    """Something public."""

    id: int = primary_key(auto=True)
    name: str
    zone: int = 0
    text: str = ""


@playground.table(public=True)
class Presence:
    """Who is there."""

    connection: str = primary_key()
    identity: str


@playground.table()
class Secret:
    """Something for the owner."""

    id: int = primary_key(auto=True)
    text: str


@playground.table(public=True)
class Ledger:
    """What timers did."""

    id: int = primary_key(auto=True)
    timer: int
    due_at: Timestamp


@playground.table(scheduled="ring")
class Bell:
    """A timer."""

    scheduled_id: int = primary_key(auto=True)
    scheduled_at: Timestamp


@playground.client_connected
def arrived(ctx: Context) -> None:
    """Note who came; one identity is not wanted."""
    if ctx.db.secret.where(text=f"ban {ctx.sender}"):
        raise SenderError("forbidden", "you are not wanted here")
    ctx.db.presence.insert(connection=ctx.connection_id, identity=ctx.sender)


@playground.client_disconnected
def left(ctx: Context) -> None:
    """Note who left."""
    ctx.db.presence.delete(ctx.connection_id)


@playground.reducer
def add(ctx: Context, name: str, zone: int = 0, text: str = "") -> int:
    """Add an item and return its id."""
    item_id: int = ctx.db.item.insert(name=name, zone=zone, text=text).id
    return item_id


@playground.reducer
def set_zone(ctx: Context, item_id: int, zone: int) -> None:
    """Move an item."""
    if item_id not in ctx.db.item:
        raise SenderError("not_found", f"there is no item {item_id}")
    ctx.db.item.update(item_id, zone=zone)


@playground.reducer
def grow(ctx: Context, item_id: int, size: int) -> None:
    """Fill an item's text."""
    ctx.db.item.update(item_id, text="x" * size)


@playground.reducer
def remove(ctx: Context, item_id: int) -> bool:
    """Remove an item."""
    return bool(ctx.db.item.delete(item_id))


@playground.reducer(access="owner")
def hide(ctx: Context, text: str) -> None:
    """Note a secret."""
    ctx.db.secret.insert(text=text)


@playground.reducer
def who_am_i(ctx: Context) -> str | None:
    """The caller's identity."""
    return ctx.sender


@playground.reducer
def ring(ctx: Context, bell: Bell) -> None:
    """Run by the bell's timer."""
    ctx.db.ledger.insert(timer=bell.scheduled_id, due_at=ctx.now)


@playground.reducer
def set_bell(ctx: Context, delay_us: int) -> int:
    """Set a timer."""
    bell: int = ctx.db.bell.insert(scheduled_at=ctx.now + delay_us).scheduled_id
    return bell


@playground.reducer
def work(ctx: Context, rounds: int) -> int:
    """Cost some time."""
    total = 0
    for number in range(rounds):
        total += number % 7
    return total


@playground.reducer
def fail_late(ctx: Context) -> None:
    """Write twice, then divide by zero."""
    ctx.db.item.insert(name="half one")
    ctx.db.item.insert(name="half two")
    raise ZeroDivisionError("the secret of the failure")


@playground.reducer
def refuse_late(ctx: Context) -> None:
    """Write, then refuse."""
    ctx.db.item.insert(name="refused")
    raise SenderError("sender_error", "not like this")


@playground.reducer
def loop(ctx: Context) -> None:
    """Never come back."""
    ctx.db.item.insert(name="looped")
    while True:
        pass


@playground.reducer
def junk(ctx: Context) -> object:
    """Return what cannot be sent."""
    ctx.db.item.insert(name="junk")
    return object()
