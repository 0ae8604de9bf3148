"""The calls that nobody asks for: init, start-up, clients that come and go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from reactor.clock import SECOND, Clock
from reactor.context import Context
from reactor.engine import Engine
from reactor.errors import Fault, ReactorError, Refusal
from reactor.limits import Limits
from reactor.messages import Caller, Reply, Task, Turn
from reactor.module import Program
from reactor.scopes import CLOCK_TABLE, WORLD
from reactor.system import CONNECTION_TABLE

# A start function that never stops asking to be run again would keep the reactor from starting.
_ROUNDS_MAX = 1_000_000
_FORGET_MAX = 10_000


class Lifecycle:
    """Makes the lifecycle calls of a program."""

    def __init__(self, program: Program) -> None:
        self.adopt(program)

    def adopt(self, program: Program) -> None:
        """Make the calls of another program from now on; also those that are in line already."""
        self._program = program
        self._connected = list(program.functions("connected"))
        self._disconnected = list(program.functions("disconnected"))
        self._gone = list(program.functions("gone"))

    # -- clients -----------------------------------------------------------------------------

    def connect_task(self, caller: Caller) -> Task | None:
        """The call for a new connection; None when no module wants to know."""
        if not self._connected and not self._disconnected:
            return None

        def connect(ctx: Context) -> None:
            ctx.db.reactor_connection.insert(
                connection_id=caller.connection_id, identity=caller.identity, connected_at=ctx.now
            )
            for hook in self._connected:
                hook(ctx)

        return Task("client_connected", connect, caller)

    def disconnect_task(self, caller: Caller) -> Task | None:
        """The call for a connection that is gone; None when no module wants to know."""
        if not self._connected and not self._disconnected and not self._gone:
            return None

        def disconnect(ctx: Context) -> None:
            # Without hooks for everybody only those have a row that somebody asked to be told of.
            if ctx.db.reactor_connection.delete(caller.connection_id):
                for hook in (*self._disconnected, *self._gone):
                    hook(ctx)

        return Task("client_disconnected", disconnect, caller)

    # -- upkeep ------------------------------------------------------------------------------

    def step_task(self, forward_us: int) -> Task:
        """The call that keeps every scope's value when the wall jumps forward."""

        def step(ctx: Context) -> None:
            clocks = ctx.db.clock
            for row in clocks:
                clocks.update(row, anchor_wall=row.anchor_wall + forward_us)

        return Task("wall_stepped", step)

    def forget_task(self, limits: Limits, again: Callable[[], None]) -> Task:
        """The call that drops old idempotency keys, and those that are too many; ``again`` is called if some are left.

        Keys stand in the order they were used, so it looks from the front and stops at the first that may stay.
        """
        dropped: list[int] = []

        def forget(ctx: Context) -> None:
            requests = ctx.db.reactor_request
            before = ctx.now - limits.request_key_retention_s * SECOND
            too_many = len(requests) - limits.request_keys_max
            old: list[str] = []
            for key, row in requests.rows.items():
                if (row.created_at >= before and len(old) >= too_many) or len(old) == _FORGET_MAX:
                    break
                old.append(key)
            dropped.append(len(old))
            for key in old:
                requests.delete(key)

        def done(seq: int, body: object) -> None:
            if dropped == [_FORGET_MAX]:
                again()

        return Task("forget_requests", forget, token=done)

    # -- start -------------------------------------------------------------------------------

    def start_turns(self, engine: Engine, clock: Clock, alive_us: int, fresh: bool) -> Iterator[Turn]:
        """The turns of a start, in order. Raises ``Refusal`` before anything is stored when a check or init fails.

        ``alive_us`` is when the database was last known to be up: until now its clocks stood still.
        """
        for check in self._program.functions("checks"):
            check(engine)
        now = clock.now()

        def boot(ctx: Context) -> None:
            engine.draw_from_stored_seed(ctx)
            _move_anchors(engine, ctx, alive_us)
            if fresh:
                for function in self._program.functions("init_functions"):
                    function(ctx)

        turn, error = run_alone(
            engine, Task("init" if fresh else "start", boot, budget_s=engine.limits.init_budget_s), now
        )
        if error is not None:
            raise Refusal("module_failed", f"the module's init failed, so nothing was created: {error.message}")
        yield turn
        for row in list(engine.store.tables[CONNECTION_TABLE]):
            task = self.disconnect_task(Caller(row.identity, row.connection_id))
            if task is not None:
                yield run_alone(engine, task, clock.now())[0]
        for function in self._program.functions("start_functions"):
            yield from _repeat(engine, clock, function)


def _move_anchors(engine: Engine, ctx: Context, alive_us: int) -> None:
    """Let every scope go on from the value it showed when the database was last up."""
    clocks = engine.store.tables[CLOCK_TABLE]
    if WORLD not in clocks:
        clocks.insert(scope=WORLD, anchor_wall=ctx.now, anchor_value=0)
    for row in list(clocks):
        value = engine.scopes.value_at(row.scope, max(alive_us, row.anchor_wall))
        clocks.update(row, anchor_wall=ctx.now, anchor_value=value if row.anchor_wall != ctx.now else row.anchor_value)


def run_alone(engine: Engine, task: Task, now: int) -> tuple[Turn, ReactorError | None]:
    """A turn with nothing but ``task`` in it, and the error if that failed."""
    turn = engine.turn([task], now, timers=False)
    for effect in turn.effects:
        if isinstance(effect, Reply) and isinstance(effect.body, ReactorError):
            return turn, effect.body
    return turn, None


def _repeat(engine: Engine, clock: Clock, function: Callable[[Any], Any]) -> Iterator[Turn]:
    """Run a start function until it asks for no further round. A failure is logged and does not stop the start."""
    again: list[bool] = [True]

    def run(ctx: Context) -> None:
        again[0] = function(ctx) is True

    for _ in range(_ROUNDS_MAX):
        turn, error = run_alone(engine, Task("start", run, budget_s=engine.limits.init_budget_s), clock.now())
        yield turn
        if error is not None or not again[0]:
            return
    raise Fault("internal", "a start function asked to be run again without end")
