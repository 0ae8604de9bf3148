"""What a reducer gets: the tables, the time, chance and identity, all from the engine.

A reducer that takes these from its context alone does the same thing again under the same seed and clock, which is
what makes simulation and replay possible.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, TypeVar

import msgspec

from reactor.budget import CallBudgetExceededError
from reactor.limits import DEFAULT_LIMITS, Limits
from reactor.scopes import Scopes
from reactor.store import Rehearsal, Savepoint, Store
from reactor.table import Table
from reactor.timers import TimerInfo

Row = TypeVar("Row")


class Tables:
    """The tables of the program: ``ctx.db.monster`` by name, ``ctx.db[Monster]`` by row class."""

    def __init__(self, tables: Mapping[str, Table[Any]]) -> None:
        self._by_class = {table.row_type: table for table in tables.values()}
        self._by_name = tables
        self.__dict__.update(tables)

    def __getitem__(self, row_class: type[Row]) -> Table[Row]:
        """The table whose declaration is ``row_class``."""
        return self._by_class[row_class]

    def __getattr__(self, name: str) -> Table[Any]:
        raise AttributeError(f"there is no table {name}; the tables are {', '.join(self._by_name)}")

    def __iter__(self) -> Iterator[Table[Any]]:
        return iter(self._by_name.values())


class Caller(msgspec.Struct, frozen=True):
    """Who asks: an identity (32 hex digits), the connection if there is one, and whether it owns the database."""

    identity: str | None
    connection_id: str | None = None
    is_owner: bool = False


SYSTEM = Caller(None)
"""The reactor itself."""


class Shared:
    """What all contexts of one engine have in common."""

    def __init__(
        self,
        store: Store,
        scopes: Scopes,
        extensions: Mapping[str, Callable[[Any], Any]],
        log: Callable[[int, str, str, str], None],
        seed: int,
    ) -> None:
        self.store = store
        self.db = Tables(store.tables)
        self.scopes = scopes
        self.extensions = extensions
        self.log = log
        self.seed = seed
        self.limits = DEFAULT_LIMITS
        # Calls tried since the start: two of them may carry one number, when the first committed nothing.
        self.attempts = 0

    def adopt(self, extensions: Mapping[str, Callable[[Any], Any]]) -> None:
        """Give contexts other extensions, and tables whose row classes may have changed, from now on."""
        self.db = Tables(self.store.tables)
        self.extensions = extensions


class Context:
    """The first argument of every reducer.

    ``now`` is the instant of the call in µs; for a timer it is the instant the timer was due, so that what is computed
    from it does not drift. ``real_now`` is when the call really ran. ``sender`` is the identity of the
    caller, or None for timers and the reactor itself; ``is_owner`` says whether it is the database's owner.
    """

    # Made for every call, so it sets only what differs from call to call.
    timer: TimerInfo | None = None
    _random: Random | None = None
    made_extensions: dict[str, Any] | None = None
    """The extensions that were asked for. They refer back to the context; the engine drops them after the call."""
    _traces: list[Callable[[Any, Any], object]] | None = None

    def __init__(self, shared: Shared, reducer: str, now: int, call_number: int, caller: Caller) -> None:
        self._shared = shared
        self.db = shared.db
        self.reducer = reducer
        self.now = now
        self.call_number = call_number
        self.caller = caller

    @property
    def sender(self) -> str | None:
        """The identity of the caller (32 hex digits); None for timers and the reactor itself."""
        return self.caller.identity

    @property
    def connection_id(self) -> str | None:
        """The connection the call came by, if it came by one."""
        return self.caller.connection_id

    @property
    def is_owner(self) -> bool:
        """Whether the caller is the owner of the database."""
        return self.caller.is_owner

    @property
    def real_now(self) -> int:
        """When the call really runs; differs from ``now`` for a timer that is late."""
        return self.now if self.timer is None else self.timer.fired_at

    @property
    def random(self) -> Random:
        """A stream of chance of this call's own: the same seed and the same calls before it give the same again."""
        if self._random is None:
            self._random = Random(self._shared.seed << 128 | self.call_number << 64 | self._shared.attempts)
        return self._random

    def stream(self, first: int, second: int) -> Random:
        """A stream of chance that belongs to two numbers (0 to 2^64) and the database, whichever call asks for it."""
        return Random(self._shared.seed << 128 | first << 64 | second)

    def wall_of(self, clock: str, value_us: int) -> int | None:
        """The wall instant at which ``clock`` shows ``value_us``; None while it stands still before it."""
        return self._shared.scopes.wall_of(clock, value_us)

    def new_uuid(self) -> str:
        """A version 4 UUID from the seeded stream, as text."""
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    @property
    def limits(self) -> Limits:
        """The bounds of this reactor."""
        return self._shared.limits

    @property
    def is_internal(self) -> bool:
        """Whether the reactor itself makes this call: a timer, the lifecycle, the engine."""
        return self.caller.identity is None

    def clock_value(self, clock: str) -> int:
        """What a clock shows at ``now``, in its own µs; for the clock of the timer that fires, when it was due.

        ``SenderError`` ``bad_value`` if there is no such clock.
        """
        if self.timer is not None and self.timer.clock == clock:
            return self.timer.due_value
        return self._shared.scopes.shown_at(clock, self.now)

    def savepoint(self) -> Savepoint:
        """``with ctx.savepoint():`` what is done inside is undone alone if it raises; the error goes on."""
        return self._shared.store.savepoint()

    def rehearsal(self) -> Rehearsal:
        """``with ctx.rehearsal() as tried:`` what is done inside is undone at its end, whether it raises or not.

        Afterwards ``tried.changed`` names the tables that it changed.
        """
        return self._shared.store.rehearsal()

    def on_undo(self, callback: Callable[[], object]) -> None:
        """Run ``callback`` if what the call does from here on is undone, by a savepoint that fails or as a whole.

        For what a reducer keeps outside the tables: a list, a cache, an attribute. Callbacks run newest first, each
        when the tables are again as they were when it was given. It changes no table and does not raise; one that
        does is logged, the undoing goes on, and the call cannot commit any more.
        """
        store = self._shared.store

        def run() -> None:
            try:
                callback()
            except (KeyboardInterrupt, CallBudgetExceededError):
                raise
            except BaseException as error:
                store.tear()
                self.log(f"what was to be done when a part of the call was undone raised {error!r}", "error")

        store.on_undo(run)

    def after_refusal(self, trace: Callable[[Any, Any], object]) -> None:
        """If this call is refused with a ``SenderError``, run ``trace(ctx, error)`` when it is undone.

        That is a commit of its own, before the error is answered, and the same one that remembers the answer under
        the request's idempotency key: a request that is sent again leaves no second trace. A trace that raises
        leaves nothing. Whatever else becomes of the call, it is not run.
        """
        if self._traces is None:
            self._traces = []
        self._traces.append(trace)

    @property
    def traces(self) -> Sequence[Callable[[Any, Any], object]]:
        """What ``after_refusal`` was given; for the engine."""
        return self._traces or ()

    def log(self, message: str, level: str = "info") -> None:
        """Write a line to the server's log (``reactor logs``)."""
        self._shared.log(self.real_now, level, self.reducer, message)

    def __getattr__(self, name: str) -> Any:
        """An extension of an included module, such as ``ctx.workflows``."""
        made = self.made_extensions
        if made is None:
            made = self.made_extensions = {}
        if name not in made:
            make = self._shared.extensions.get(name)
            if make is None:
                raise AttributeError(f"the context has no attribute {name!r}")
            made[name] = make(self)
        return made[name]
