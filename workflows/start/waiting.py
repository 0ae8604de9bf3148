"""Pending workflows: those whose time or turn has not come. They are rows, and begin in the order of their lines.

A Pending workflow waits in the line of its claim, then in that of its slot, then for its instant; then it begins. What
holds it up goes on in the commit that frees it: the end of a holder begins the next in line.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from reactor.budget import CallBudgetExceededError
from reactor.context import Context
from reactor.errors import SenderError
from workflows.definition import Definition
from workflows.dispatch import Dispatcher
from workflows.handle import Cause, Workflow
from workflows.life import PENDING, is_awake
from workflows.outcome import record_step
from workflows.start import claims, deadlines
from workflows.start.asking import Ask, Times
from workflows.start.names import insert_named
from workflows.start.tables import Span
from workflows.starting import Birth

BEGUN_AT_ONCE_MAX = 16
"""Workflows begun in one commit because one another's end made room; the rest follow by themselves."""

_encode = msgspec.json.Encoder().encode


class Waiting:
    """Puts workflows among the Pending, and begins them."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._freed: deque[str] = deque()
        self._moving = False

    # -- coming in ---------------------------------------------------------------------------------

    def put(self, ctx: Context, ask: Ask, workflow_id: int, birth: Birth, line: str | None, times: Times) -> Any:
        """Insert a workflow that does not begin yet; returns its row."""
        kind = ask.kind
        columns: dict[str, Any] = {
            "id": workflow_id,
            "entity_id": ask.entity_id,
            "correlation_id": ask.correlation_id,
            "status": PENDING,
            "current_step": "pending",
            "state": "null",
            "state_version": kind.state_version,
            "owner": ctx.sender if ctx.timer is None else None,
            "parent_id": ask.parent_id,
            "root_id": birth.root_id,
            "deadline": birth.deadline,
            "created_at": ctx.now,
            "updated_at": ctx.now,
        }
        row = insert_named(ctx, kind.name, birth.name, columns)
        ctx.db.workflow_pending.insert(
            workflow_id=workflow_id,
            payload=_encode(ask.payload).decode(),
            claim=claims.claim_of(ask),
            slot=claims.slot_of(ask),
            line=line,
            starts_at=times.starts_at,
            lasts_us=times.lasts_us,
        )
        if line is None:
            self._wake_at(ctx, workflow_id, times.starts_at or ctx.now)
        if self._dispatcher.audit:
            record_step(ctx, None, row, "pending", "start", None, "in line" if line else "until its time")
        return row

    def refresh(self, ctx: Context, workflow_id: int, payload: Any) -> None:
        """Let a workflow that has not begun begin with another payload."""
        for pending in ctx.db.workflow_pending.where(workflow_id=workflow_id):
            ctx.db.workflow_pending.update(pending.id, payload=_encode(payload).decode())

    # -- going on ----------------------------------------------------------------------------------

    def freed(self, ctx: Context, line: str) -> None:
        """A claim or slot has become free: let the next in line have it.

        A chain of workflows that end as soon as they begin is walked one after another, not one inside another.
        """
        if claims.first_in_line(ctx, line) is None:
            return
        self._freed.append(line)
        if self._moving:
            return
        self._moving = True
        try:
            for _ in range(BEGUN_AT_ONCE_MAX):
                if not self._freed:
                    return
                self._move(ctx, self._freed.popleft())
            for rest in dict.fromkeys(self._freed):
                self._later(ctx, rest)
        finally:
            self._moving = False
            self._freed.clear()

    def _later(self, ctx: Context, line: str) -> None:
        """Move a line on in a commit of its own, very soon."""
        first = claims.first_in_line(ctx, line)
        if first is not None:
            self._wake_at(ctx, first.workflow_id, ctx.real_now)

    def _move(self, ctx: Context, line: str) -> None:
        """Give what is free to the first in its line. For a slot there may be room for several."""
        pending = claims.first_in_line(ctx, line)
        if pending is None:
            return
        kind = self._dispatcher.registry.get(ctx.db.workflow.require(pending.workflow_id).workflow_type)
        if kind is None:
            return
        if line == pending.claim:
            if line not in ctx.db.workflow_claim.rows:
                claims.take_claim(ctx, line, pending.workflow_id)
                self._next_line(ctx, kind, pending)
            return
        limit = kind.concurrency
        if limit is None or ctx.db.workflow_slot.count(slot=line) < limit.max:
            ctx.db.workflow_slot.insert(workflow_id=pending.workflow_id, slot=line, since=ctx.now)
            ready = ctx.db.workflow_pending.update(pending.id, line=None)
            # There may be room for another.
            self._freed.append(line)
            self._ready(ctx, kind, ready)

    def _next_line(self, ctx: Context, kind: Definition, pending: Any) -> None:
        """It has its claim: on to the line of its slot, if that is full."""
        table = ctx.db.workflow_pending
        if pending.slot is None:
            self._ready(ctx, kind, table.update(pending.id, line=None))
        elif claims.is_full(ctx, kind, pending.slot):
            # At the end of that line: a place is the id of the row.
            columns = {name: getattr(pending, name) for name in table.schema.column_names if name != "id"}
            table.delete(pending.id)
            table.insert(**{**columns, "line": pending.slot})
        else:
            ctx.db.workflow_slot.insert(workflow_id=pending.workflow_id, slot=pending.slot, since=ctx.now)
            self._ready(ctx, kind, table.update(pending.id, line=None))

    def _ready(self, ctx: Context, kind: Definition, pending: Any) -> None:
        """It has all it wants: begin, or wait for its instant."""
        if pending.starts_at is not None and pending.starts_at > ctx.now:
            self._wake_at(ctx, pending.workflow_id, pending.starts_at)
            return
        try:
            with ctx.savepoint():
                self.begin(ctx, kind, pending)
        except (CallBudgetExceededError, SenderError):
            # Somebody else's call is used up, or has gone too deep. It begins in one of its own.
            self._wake_at(ctx, pending.workflow_id, ctx.real_now)

    def _wake_at(self, ctx: Context, workflow_id: int, at: int) -> None:
        timers = ctx.db.workflow_start_timer
        if not timers.count(workflow_id=workflow_id):
            timers.insert(scheduled_at=at, workflow_id=workflow_id)

    def due(self, ctx: Context, timer: Any) -> None:
        """Run by a row of ``workflow_start_timer``: a Pending workflow's instant has come, or its line moves on."""
        ctx.db.workflow_start_timer.delete(timer.scheduled_id)
        row = ctx.db.workflow.get(timer.workflow_id)
        pending = ctx.db.workflow_pending.first(workflow_id=timer.workflow_id)
        if row is None or pending is None or row.status is not PENDING:
            return
        kind = self._dispatcher.registry.get(row.workflow_type)
        if kind is None:
            # Kept for the day its type is registered again.
            ctx.db.workflow_start_timer.insert(
                scheduled_at=timer.scheduled_at, workflow_id=timer.workflow_id, cancelled=True
            )
        elif pending.line is not None:
            self.freed(ctx, pending.line)
        else:
            try:
                with ctx.savepoint():
                    self.begin(ctx, kind, pending)
            except CallBudgetExceededError as error:
                self._dispatcher.steps.ends.fail(ctx, row, Cause("start"), error)

    # -- beginning ---------------------------------------------------------------------------------

    def begin(self, ctx: Context, kind: Definition, pending: Any) -> None:
        """Begin a Pending workflow. The run's deadline counts from here."""
        row = ctx.db.workflow.require(pending.workflow_id)
        self._forget(ctx, pending)
        if pending.lasts_us is not None:
            deadlines.arm(ctx, row.id, Span.RUN, ctx.now + pending.lasts_us, pending.lasts_us)
        birth = Birth(row.name, row.root_id, deadlines.earliest(ctx, row.id), row)
        w: Workflow[Any] = Workflow(ctx, kind, row.id)
        w.entity_id, w.correlation_id = row.entity_id, row.correlation_id
        w.owner, w.parent_id, w.sequence = row.owner, row.parent_id, row.sequence
        try:
            payload = kind.payload.read(pending.payload, self._dispatcher.limits.payload_bytes_max)
        except Exception as error:
            # Asked for under an older declaration of the payload.
            self._dispatcher.steps.ends.fail(ctx, row, Cause("start"), error)
            return
        self._dispatcher.starting.begin(ctx, kind, w, payload, birth)
        after = ctx.db.workflow.get(row.id)
        if after is not None and is_awake(after.status):
            self._dispatcher.signalling.deliver_held(ctx, after)

    @staticmethod
    def _forget(ctx: Context, pending: Any) -> None:
        ctx.db.workflow_pending.delete(pending.id)
        timers = ctx.db.workflow_start_timer
        for timer in timers.lookup(("workflow_id",), (pending.workflow_id,)):
            timers.delete(timer.scheduled_id)

    def ended(self, ctx: Context, row: Any) -> None:
        """A workflow has ended: it wants nothing more, and what it held is for the next."""
        db = ctx.db
        if db.workflow_pending.rows:
            pending = db.workflow_pending.first(workflow_id=row.id)
            if pending is not None:
                self._forget(ctx, pending)
        freed: list[str] = []
        if db.workflow_claim.rows:
            freed += [held.claim for held in db.workflow_claim.lookup(("workflow_id",), (row.id,))]
            for claim in freed:
                db.workflow_claim.delete(claim)
        slot = db.workflow_slot.get(row.id) if db.workflow_slot.rows else None
        if slot is not None:
            db.workflow_slot.delete(row.id)
            freed.append(slot.slot)
        for line in freed:
            self.freed(ctx, line)

    def take_up(self, ctx: Context) -> None:
        """At a start: whatever the types missed while they were missing, or another limit allows now, goes on."""
        registered = self._dispatcher.registry.get
        timers = ctx.db.workflow_start_timer
        for timer in list(timers.rows.values()):
            row = ctx.db.workflow.get(timer.workflow_id)
            if timer.cancelled and row is not None and registered(row.workflow_type) is not None:
                timers.update(timer.scheduled_id, cancelled=False)
        lines = dict.fromkeys(row.line for row in ctx.db.workflow_pending if row.line is not None)
        for line in lines:
            if line not in ctx.db.workflow_claim.rows:
                self._later(ctx, line)
