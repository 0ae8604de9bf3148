"""Carrying out one order: one target after the other, each by itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from reactor.budget import CallBudgetExceededError
from reactor.context import Context
from reactor.errors import SenderError, plain_text
from reactor.messages import Caller
from workflows.dispatch import Dispatcher
from workflows.groups.verbs import VERBS, Order
from workflows.outcome import RunawayError, explain

APPLIED, REFUSED, FAILED = "applied", "refused", "failed"

MESSAGE_CHARS_MAX = 300
"""A result tells enough to act on; the whole story of a failure is in the log."""


SCRIPT_WEIGHT = 5
"""A script's step costs so many of a handler's: it is resumed, perhaps replayed, and its history written."""


class Outcome(NamedTuple):
    """What came of one target.

    ``applied``: done. ``refused``: a ``SenderError``, whose ``code`` is that of the same verb for one workflow.
    ``failed``: something raised that should not (``internal``), or ran too long (``budget_exceeded``). A target that
    was refused or failed is as it was before.
    """

    id: int
    outcome: str
    status: str | None
    code: str | None = None
    message: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The outcome as callers see it; ``code`` and ``message`` only where there is one."""
        return {name: value for name, value in self._asdict().items() if value is not None or name == "status"}


class Carrier:
    """Carries orders out. ``is_trusted`` orders come from game code, and nobody's permission is asked."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def carry_out(self, ctx: Context, order: Order, ids: Sequence[int], is_trusted: bool) -> list[Outcome]:
        """Do it to the targets in order; one result each, for fewer than all when the time of the call is used up.

        At least one is always done.
        """
        done: list[Outcome] = []
        for workflow_id in ids:
            try:
                done.append(self._one(ctx, order, workflow_id, is_trusted))
            except CallBudgetExceededError:
                if done:
                    break
                # With the time of the whole call, and yet not: it must not hold up those behind it.
                done.append(self._failed(ctx, order, workflow_id, RunawayError(self._dispatcher.limits)))
        return done

    def share(self, ctx: Context, ids: Sequence[int], weight_max: int) -> int:
        """How many of the targets, from the first on, make a piece of so much work; at least one."""
        rows, types = ctx.db.workflow.rows, self._dispatcher.registry.get
        weight = 0
        for count, workflow_id in enumerate(ids):
            row = rows.get(workflow_id)
            kind = None if row is None else types(row.workflow_type)
            weight += SCRIPT_WEIGHT if kind is not None and kind.stores_signals else 1
            if weight > weight_max:
                return max(count, 1)
        return len(ids)

    def _one(self, ctx: Context, order: Order, workflow_id: int, is_trusted: bool) -> Outcome:
        try:
            try:
                with ctx.savepoint():
                    return self._act(ctx, order, workflow_id, is_trusted)
            except CallBudgetExceededError:
                # It, or those before it: the one that is to blame is the one that fails.
                self._dispatcher.steps.once_more(ctx, self._act, ctx, order, workflow_id, is_trusted)
        except SenderError as error:
            return Outcome(workflow_id, REFUSED, _status(ctx, workflow_id), error.code, _short(error.message))
        except Exception as error:
            return self._failed(ctx, order, workflow_id, error)

    def _act(self, ctx: Context, order: Order, workflow_id: int, is_trusted: bool) -> Outcome:
        verb = VERBS[order.verb]
        row = ctx.db.workflow.get(workflow_id)
        if row is None or not verb.for_ended:
            row = self._dispatcher.live_row(ctx, workflow_id)
        if not is_trusted:
            self._dispatcher.allow(ctx, row, row.workflow_type, verb.asks or order.verb)
        status = verb.act(self._dispatcher, ctx, row, order)
        return Outcome(workflow_id, APPLIED, None if status is None else str(status))

    def _failed(self, ctx: Context, order: Order, workflow_id: int, error: Exception) -> Outcome:
        row = ctx.db.workflow.get(workflow_id)
        kind = "workflow" if row is None else row.workflow_type
        message = explain(ctx, kind, workflow_id, f"group {order.verb}", error, self._dispatcher.limits)
        code = "budget_exceeded" if isinstance(error, RunawayError) else "internal"
        return Outcome(workflow_id, FAILED, _status(ctx, workflow_id), code, _short(message))


def _status(ctx: Context, workflow_id: int) -> str | None:
    row = ctx.db.workflow.get(workflow_id)
    return None if row is None else str(row.status)


def _short(message: str) -> str:
    return plain_text(message)[:MESSAGE_CHARS_MAX]


@contextlib.contextmanager
def acting_for(ctx: Context, actor: str | None, is_owner: bool) -> Iterator[None]:
    """Let a timer's call do what is inside as if ``actor`` had called now.

    What targets see must not depend on whether they were reached at once or in a later piece: the sender, the owner of
    what they start, the time.
    """
    caller, now, timer = ctx.caller, ctx.now, ctx.timer
    ctx.caller, ctx.now, ctx.timer = Caller(actor, None, is_owner), ctx.real_now, None
    try:
        yield
    finally:
        ctx.caller, ctx.now, ctx.timer = caller, now, timer
