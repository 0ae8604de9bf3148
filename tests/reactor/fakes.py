"""What the tests of the core share: a small game, a storage told when to sync, a guard told when to bite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from reactor import Context, Duration, Module, SenderError, Timestamp, index, primary_key
from reactor.assembly import compose
from reactor.budget import CallBudgetExceededError
from reactor.clock import SimulatedClock
from reactor.engine import Engine
from reactor.host import Host
from reactor.limits import DEFAULT_LIMITS, Limits
from reactor.storage import Group
from reactor.storage.api import FailureKind, StorageEvents
from reactor.testing import OWNER, Rig, RigClient

STRANGER = "a" * 32

game = Module("game")


@game.table(public=True, indexes=["zone", index("zone", "hp", ordered=True)], unique=["name"])
class Monster:
    """Something to fight."""

    id: int = primary_key(auto=True)
    zone: int = 0
    hp: int = 10
    name: str | None = None


@game.table(public=True)
class Zone:
    """Where monsters live."""

    id: int = primary_key()
    open: bool = True


@game.table()
class Secret:
    """Not for clients."""

    id: int = primary_key()
    text: str = ""


@game.table(scheduled="ring")
class Bell:
    """Rings."""

    scheduled_id: int = primary_key(auto=True)
    scheduled_at: Timestamp
    interval: Duration = 0


@game.reducer
def spawn(ctx: Context, zone: int, hp: int = 10) -> int:
    """Add a monster."""
    monster: int = ctx.db.monster.insert(zone=zone, hp=hp).id
    return monster


@game.reducer
def hit(ctx: Context, monster_id: int, damage: int) -> int:
    """Hurt a monster; it is gone when its hp are."""
    row = ctx.db.monster.require(monster_id)
    left: int = row.hp - damage
    if left <= 0:
        ctx.db.monster.delete(row)
    else:
        ctx.db.monster.update(row, hp=left)
    return max(left, 0)


@game.reducer
def move(ctx: Context, monster_id: int, zone: int) -> None:
    """Take a monster elsewhere."""
    ctx.db.monster.update(monster_id, zone=zone)


@game.reducer
def half(ctx: Context, first: int) -> None:
    """Write twice, then find out that it was wrong."""
    ctx.db.monster.insert(zone=first)
    ctx.db.zone.insert(id=first)
    raise SenderError("sender_error", "not like this", hint=first)


@game.reducer
def broken(ctx: Context) -> None:
    """A bug."""
    ctx.db.monster.insert(zone=1)
    raise ZeroDivisionError("secret details")


@game.reducer
def hide(ctx: Context, key: int, text: str) -> None:
    """Write where clients cannot look."""
    ctx.db.secret.insert(id=key, text=text)


@game.reducer
def ring_in(ctx: Context, delay_us: int, interval_us: int = 0) -> int:
    """Set a bell."""
    bell: int = ctx.db.bell.insert(scheduled_at=ctx.now + delay_us, interval=interval_us).scheduled_id
    return bell


@game.reducer
def ring(ctx: Context, bell: Bell) -> None:
    """Run by the bell's timer."""
    ctx.db.monster.insert(zone=1000 + bell.scheduled_id)


class HeldStorage:
    """A storage in which nothing is durable before ``sync``; it checks that groups come without a gap."""

    history_id = "h" * 32

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.durable_seq = 0
        self.appended_seq = 0
        self.is_failed = False
        self.resets = 0
        self.hold_projection = False
        self.wanted = 0
        self.events: StorageEvents | None = None

    def start(self, events: StorageEvents) -> None:
        """See ``Storage``."""
        self.events = events

    def append(self, group: Group) -> None:
        """See ``Storage``."""
        assert not self.is_failed, "nothing may be appended between a failure and the recovery"
        assert group.first_seq == self.appended_seq + 1, "groups come without a gap"
        self.appended_seq = group.last_seq
        self.groups.append(group)

    def reset(self) -> None:
        """See ``Storage``."""
        self.resets += 1
        self.groups.clear()
        self.appended_seq = self.durable_seq

    def project(self, seq: int) -> None:
        """See ``Storage``."""
        assert seq <= self.durable_seq
        self.wanted = max(self.wanted, seq)
        if not self.hold_projection:
            self.told.projected(seq)

    def mark_alive(self, wall_us: int, world_us: int) -> None:
        """See ``Storage``."""

    def trim(self, keep_after_us: int, bytes_max: int | None = None) -> None:
        """See ``Storage``."""

    def close(self) -> None:
        """See ``Storage``."""

    @property
    def told(self) -> StorageEvents:
        """The host."""
        assert self.events is not None
        return self.events

    def sync(self) -> None:
        """Make everything durable, also what the host has kept back meanwhile."""
        while True:
            self.durable_seq = self.appended_seq
            self.groups.clear()
            self.told.durable(self.durable_seq)
            if not self.groups:
                return

    def sync_one(self) -> None:
        """Make the oldest group durable."""
        self.durable_seq = self.groups.pop(0).last_seq
        self.told.durable(self.durable_seq)

    def fail(self, kind: FailureKind = "full", message: str = "no space left") -> None:
        """The disk says no."""
        self.is_failed = True
        self.told.failed(kind, message)

    def recover(self) -> None:
        """There is space again."""
        self.is_failed = False
        self.told.recovered()


class Desk:
    """A host over a ``HeldStorage``: what leaves is seen to leave only after a sync."""

    def __init__(self, module: Module = game, *, limits: Limits = DEFAULT_LIMITS, sql: Any = None) -> None:
        self.clock = SimulatedClock()
        self.storage = HeldStorage()
        program = compose(module)
        self.engine = Engine(program, {name: i + 1 for i, name in enumerate(program.tables)}, limits=limits)
        self.host = Host(self.engine, self.storage, self.clock, sql=sql)
        self.host.start(self.clock.now(), fresh=True)
        self.storage.sync()
        self._connections = 0

    def settle(self) -> None:
        """Run turns until nothing waits."""
        while self.host.run_turn():
            pass

    def connect(self, identity: str = OWNER) -> RigClient:
        """A client; its greeting is read away."""
        self._connections += 1
        client = RigClient(cast(Rig, self), identity, identity == OWNER, f"{self._connections:032x}")
        self.storage.sync()
        client.received.clear()
        return client


class FakeGuard:
    """A budget that is spent when a reducer calls ``bite``."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def arm(self) -> None:
        """See ``BudgetGuard``."""
        self.log.append("arm")

    def disarm(self) -> None:
        """See ``BudgetGuard``."""
        self.log.append("disarm")

    def enter(self, budget_s: float) -> None:
        """See ``BudgetGuard``."""
        self.log.append(f"enter {budget_s}")

    def leave(self) -> None:
        """See ``BudgetGuard``."""
        self.log.append("leave")

    @staticmethod
    def bite() -> None:
        """Time is up."""
        raise CallBudgetExceededError


def refusal_of(action: Callable[[], Any], error: type[BaseException]) -> Any:
    """The error that ``action`` raises."""
    try:
        action()
    except error as raised:
        return raised
    raise AssertionError(f"{error.__name__} was not raised")
