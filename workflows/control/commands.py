"""The command log: what somebody outside asked of workflows, accepted or refused, as rows.

A refusal undoes the call that asked; its row is written in a commit of its own, before the error is answered. What
game code and timers do is no command: it is part of a call of theirs, which is in the log or not.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar, cast

from reactor.clock import SECOND
from reactor.context import Context
from reactor.errors import SenderError, plain_text
from reactor.limits import DEFAULT_LIMITS, Limits

Function = TypeVar("Function", bound=Callable[..., Any])

TEXT_CHARS_MAX = 500
ACCEPTED, REFUSED = "accepted", "refused"


class Logged(enum.StrEnum):
    """Which accepted commands have a row. Refusals have one unless it is ``off``."""

    ALL = "all"
    """Every one, also each start and signal: about a third more to store for a start."""
    CONTROL = "control"
    """All but starts and signals, whose trace is the workflow's own row."""
    OFF = "off"


class Commands:
    """Writes ``command_log``. ``limits`` are those of the reactor; ``logged`` says which commands."""

    def __init__(self, logged: Logged = Logged.CONTROL, limits: Limits = DEFAULT_LIMITS) -> None:
        self.log(logged)
        self.limits = limits
        # Refusals of the second that runs. In memory only: what is lost with it is a count of what was left out.
        self._second = 0
        self._written = 0
        self._omitted = 0

    def log(self, logged: Logged) -> None:
        """Say which commands are written from now on."""
        self._is_on = logged is not Logged.OFF
        self.logs_starts = logged is Logged.ALL
        """Whether accepted starts and signals have rows."""

    def note(
        self,
        ctx: Context,
        verb: str,
        workflow_id: int | None,
        *,
        workflow_type: str | None = None,
        reason: str | None = None,
        detail: str | None = None,
    ) -> None:
        """A command was accepted: write its row, as part of the commit of what it did."""
        if ctx.sender is not None and self._is_on:
            self._insert(ctx, verb, workflow_id, workflow_type, reason, ACCEPTED, None, detail, 0)

    def refused(
        self,
        ctx: Context,
        verb: str,
        workflow_id: int | None,
        *,
        workflow_type: str | None = None,
        reason: str | None = None,
    ) -> None:
        """A command is about to be refused: a row will tell so, if the call is undone for that."""
        if ctx.sender is None or not self._is_on:
            return

        def write(after: Context, error: SenderError) -> None:
            omitted = self._admit(after)
            if omitted is not None:
                self._insert(
                    after, verb, workflow_id, workflow_type, reason, REFUSED, error.code, error.message, omitted
                )

        ctx.after_refusal(write)

    def command(
        self,
        ctx: Context,
        verb: str,
        workflow_id: int | None = None,
        *,
        workflow_type: str | None = None,
        reason: str | None = None,
    ) -> Command:
        """``with commands.command(ctx, "pause", id):`` what is done inside is one command, accepted unless it raises.

        The command's ``detail`` may be set inside.
        """
        return Command(self, ctx, verb, workflow_id, workflow_type, reason)

    def reducer(self, function: Function) -> Function:
        """The same reducer, each call of which is one command, called as it is; its first argument is the detail."""

        @functools.wraps(function)
        def run(ctx: Context, *values: Any) -> Any:
            with self.command(ctx, function.__name__) as command:
                result = function(ctx, *values)
                command.detail = str(values[0]) if values else None
            return result

        return cast("Function", run)

    def _admit(self, ctx: Context) -> int | None:
        """How many refusals were left out before this one; None if this one is left out too."""
        second = ctx.now // SECOND
        if second != self._second:
            self._second, self._written = second, 0
        if self._written >= self.limits.refusals_per_second_max:
            self._omitted += 1
            return None
        self._written += 1
        omitted, self._omitted = self._omitted, 0
        return omitted

    def _insert(
        self,
        ctx: Context,
        verb: str,
        workflow_id: int | None,
        workflow_type: str | None,
        reason: str | None,
        outcome: str,
        code: str | None,
        detail: str | None,
        omitted: int,
    ) -> None:
        table = ctx.db.command_log
        if workflow_type is None and workflow_id is not None:
            row = ctx.db.workflow.get(workflow_id)
            workflow_type = None if row is None else row.workflow_type
        table.insert(
            at=ctx.real_now,
            caller=ctx.sender or "",
            verb=verb,
            workflow_id=workflow_id,
            workflow_type=_short(workflow_type),
            reason=_short(reason),
            outcome=outcome,
            code=code,
            detail=_short(detail),
            omitted=omitted,
        )
        over = table.count(outcome=outcome) - self.limits.commands_kept_max
        if over > 0:
            # Two at most, so that a bound that was lowered is reached bit by bit.
            for row in table.range("id", outcome=outcome, limit=min(over, 2)):
                table.delete(row.id)


class Command:
    """One command, from when it is asked to when it is accepted or refused."""

    __slots__ = ("_commands", "_ctx", "_reason", "_verb", "detail", "workflow_id", "workflow_type")

    def __init__(
        self,
        commands: Commands,
        ctx: Context,
        verb: str,
        workflow_id: int | None,
        workflow_type: str | None,
        reason: str | None,
    ) -> None:
        self._commands = commands
        self._ctx = ctx
        self._verb = verb
        self._reason = reason
        self.workflow_id = workflow_id
        self.workflow_type = workflow_type
        self.detail: str | None = None

    def __enter__(self) -> Command:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        about: dict[str, Any] = {"workflow_type": self.workflow_type, "reason": self._reason}
        if error is None:
            self._commands.note(self._ctx, self._verb, self.workflow_id, detail=self.detail, **about)
        elif isinstance(error, SenderError):
            self._commands.refused(self._ctx, self._verb, self.workflow_id, **about)


def _short(text: str | None) -> str | None:
    return None if text is None else plain_text(text)[:TEXT_CHARS_MAX]
