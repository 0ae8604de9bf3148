"""Scheduled commands: a named function with data, to be run once at a time, however often it is asked for.

A command is one by its name and data: asking again changes nothing, except that the earlier of two times counts. Its
row is its timer. When it is due the function runs and the row goes in one commit; if the function fails, what it did is
undone, and the row stays with the error and a later time. Each is a call of its own, so none stops another.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import orjson

from reactor.budget import CallBudgetExceededError
from reactor.clock import hours, seconds
from reactor.columns import INT64_MAX, U32, Duration, Timestamp
from reactor.context import Context
from reactor.errors import Refusal, SenderError
from reactor.module import Module
from reactor.schema import check_name, declare_table, primary_key
from workflows.dispatch import Dispatcher
from workflows.parts import Part
from workflows.payload import bounded_json

TIMER_REDUCER = "scheduled_command_fire"
BACKOFF_US, BACKOFF_US_MAX = seconds(1), hours(1)
MESSAGE_CHARS_MAX = 2_000
LIST_MAX = 1_000

Command = Callable[[Context, Any], object]
Function = TypeVar("Function", bound=Command)


class ScheduledCommandRow:
    """A command that is to be run at ``scheduled_at``. ``data`` is JSON text with sorted keys.

    ``attempts`` counts the times it failed, ``error`` is the last failure; ``execute_at`` is when it was to be run
    before any failure put it off.
    """

    scheduled_id: int = primary_key(auto=True)
    scheduled_at: Timestamp
    name: str
    data: str
    execute_at: Timestamp
    attempts: U32 = 0
    error: str | None = None
    failed_at: Timestamp | None = None
    generation: U32 = 1
    created_at: Timestamp


SCHEMA = declare_table(
    ScheduledCommandRow, name="scheduled_command", unique=[("name", "data")], scheduled=TIMER_REDUCER
)


class ScheduledCommands(Part):
    """Commands by name, and the rows that run them."""

    schemas = (SCHEMA,)

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__(dispatcher)
        self._functions: dict[str, Command] = {}

    def declare(self, module: Module) -> None:
        """Add the reducers and ``ctx.commands``."""
        for function in (self.command_schedule, self.command_cancel, self.command_list):
            module.reducer(access="owner")(function)
        module.reducer(name=TIMER_REDUCER, access="internal")(self.scheduled_command_fire)
        module.extension("commands", lambda ctx: Commands(ctx, self))

    def command(self, name: str) -> Callable[[Function], Function]:
        """Register ``function(ctx, data)`` as the command ``name``; ``Refusal`` ``bad_declaration``."""
        check_name(name, f"scheduled command {name}")
        if name in self._functions:
            raise Refusal("bad_declaration", f"scheduled command {name} is registered twice; give one another name")

        def register(function: Function) -> Function:
            self._functions[name] = function
            return function

        return register

    # -- reducers ----------------------------------------------------------------------------

    def command_schedule(
        self,
        ctx: Context,
        name: str,
        data: Any = None,
        at: Timestamp | None = None,
        after_us: Duration | None = None,
    ) -> dict[str, Any]:
        """Run a command at an instant, or after a while; returns its id, when it is due, and whether it is new.

        One with the same name and data that waits already stays; of the two times the earlier one counts.
        """
        return self.schedule(ctx, name, data, at, after_us)

    def command_cancel(self, ctx: Context, name: str, data: Any = None) -> bool:
        """Let a command not run; false if there is none with this name and data."""
        return self.cancel(ctx, name, data)

    def command_list(self, ctx: Context, after_id: int = 0) -> list[Any]:
        """The commands that wait or have failed, by id, at most 1,000 from ``after_id`` on."""
        rows = (row for row in ctx.db.scheduled_command if row.scheduled_id > after_id)
        return [row for row, _ in zip(rows, range(LIST_MAX), strict=False)]

    def scheduled_command_fire(self, ctx: Context, row: Any) -> None:
        """Run by the reactor for every due row of ``scheduled_command``; nobody else can."""
        try:
            with ctx.savepoint():
                function = self._functions.get(row.name)
                if function is None:
                    raise self._unknown(row.name)
                # Before it runs: then it may ask for itself again.
                ctx.db.scheduled_command.delete(row.scheduled_id)
                function(ctx, orjson.loads(row.data))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._put_off(ctx, row, error)

    # -- what they do ------------------------------------------------------------------------

    def schedule(self, ctx: Context, name: str, data: Any, at: int | None, after_us: int | None) -> dict[str, Any]:
        """See ``command_schedule``. ``SenderError`` ``unknown_command``, ``bad_arguments``, ``payload_too_large``."""
        if name not in self._functions:
            raise self._unknown(name)
        if (at is None) == (after_us is None):
            raise SenderError("bad_arguments", "give at, or after_us, and not both", parameter="at")
        due = at if at is not None else ctx.now + (after_us or 0)
        if not 0 <= due <= INT64_MAX:
            raise SenderError("bad_arguments", "parameter at: a time from 1970 on, below 2^63 µs", parameter="at")
        text = self._canonical(data)
        table = ctx.db.scheduled_command
        row = table.first(name=name, data=text)
        new = row is None
        if row is None:
            row = table.insert(scheduled_at=due, name=name, data=text, execute_at=due, created_at=ctx.now)
        elif due < row.scheduled_at:
            generation = row.generation + 1
            execute_at = min(due, row.execute_at)
            row = table.update(row.scheduled_id, scheduled_at=due, execute_at=execute_at, generation=generation)
        return {"id": row.scheduled_id, "at": row.scheduled_at, "new": new}

    def cancel(self, ctx: Context, name: str, data: Any) -> bool:
        """See ``command_cancel``."""
        row = ctx.db.scheduled_command.first(name=name, data=self._canonical(data))
        return row is not None and bool(ctx.db.scheduled_command.delete(row.scheduled_id))

    def _put_off(self, ctx: Context, row: Any, error: BaseException) -> None:
        """Keep a command that failed, with its error, for a later time."""
        limit = self.dispatcher.limits.call_budget_s
        ran_long = isinstance(error, CallBudgetExceededError)
        message = f"it ran longer than {limit} s" if ran_long else f"{type(error).__name__}: {error}"
        trace = "".join(traceback.format_exception(error))
        ctx.log(f"scheduled command {row.name} failed: {message}\n{trace}", "error")
        # From now, not from when it was due: behind a long stop the waits would all have passed already.
        delay = min(BACKOFF_US << min(row.attempts, 40), BACKOFF_US_MAX)
        ctx.db.scheduled_command.update(
            row.scheduled_id,
            scheduled_at=ctx.real_now + delay,
            attempts=row.attempts + 1,
            error=message[:MESSAGE_CHARS_MAX],
            failed_at=ctx.real_now,
            generation=row.generation + 1,
        )

    def _canonical(self, data: Any) -> str:
        """The data as JSON text that is the same for equal data."""
        return bounded_json(data, "data", self.dispatcher.limits.payload_bytes_max, _sorted)

    def _unknown(self, name: str) -> SenderError:
        known = ", ".join(self._functions) or "none"
        return SenderError(
            "unknown_command",
            f"there is no scheduled command {name!r}; registered are {known}. Add it with engine.command(name)",
            command=name,
            known_commands=list(self._functions),
        )


class Commands:
    """``ctx.commands``: scheduled commands as game code sees them, as part of the running call."""

    __slots__ = ("_ctx", "_part")

    def __init__(self, ctx: Context, part: ScheduledCommands) -> None:
        self._ctx = ctx
        self._part = part

    def schedule(self, name: str, data: Any = None, *, at: int | None = None, after_us: int | None = None) -> int:
        """Run a command at an instant or after a while, once however often it is asked for; returns its id.

        Raises as ``command_schedule``.
        """
        return int(self._part.schedule(self._ctx, name, data, at, after_us)["id"])

    def cancel(self, name: str, data: Any = None) -> bool:
        """Let a command not run; False if there is none with this name and data."""
        return self._part.cancel(self._ctx, name, data)


def _sorted(data: Any) -> bytes:
    return orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
