"""The rules of a start, one after another, in one commit: keys, descent, claims, names, limits, times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reactor.context import Context
from reactor.errors import SenderError, invariant
from workflows.control.limits import check_children
from workflows.definition import Definition
from workflows.dispatch import Dispatcher
from workflows.handle import Cause, Deferred, Workflow
from workflows.life import PENDING, is_awake, is_live
from workflows.start import claims, deadlines, keys, names
from workflows.start.asking import Ask, Times, check, policy_of, times_of
from workflows.start.options import NO_OPTIONS, OnConflict, Outcome, Started, StartOptions
from workflows.start.tables import Span
from workflows.start.waiting import Waiting
from workflows.starting import Birth

CHILD_DEPTH_MAX = 10
"""Children of children; a root has depth 0."""

Label = Callable[[Context, int, dict[str, Any] | None, list[str] | None], None]


class StartRules:
    """Decides about starts. ``label`` stores attributes and tags, ``remove`` an ended workflow with all it has."""

    label: Label
    remove: Callable[[Context, Any], None]

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self.waiting = Waiting(dispatcher)

    def start(
        self,
        ctx: Context,
        kind: Definition,
        entity_id: int | None,
        correlation_id: str | None,
        payload: Any,
        parent_id: int | None,
        options: StartOptions | None,
    ) -> Started:
        """Start under the rules, or raise and leave nothing."""
        ask = Ask(kind, entity_id, correlation_id, payload, parent_id, options or NO_OPTIONS)
        check(ask)
        with ctx.savepoint():
            if ask.options.request_id is not None:
                return keys.once(ctx, ask, ask.options.request_id, self._start)
            return self._start(ctx, ask)

    def _start(self, ctx: Context, ask: Ask) -> Started:
        times = times_of(ctx, ask.options)
        root_id = self._root_of(ctx, ask.parent_id)
        claim, held = claims.claim_of(ask), None
        if claim is not None:
            held = ctx.db.workflow_claim.get(claim)
        if held is not None:
            other = self._instead(ctx, ask, held)
            if other is not None:
                return other
        queued = held is not None and policy_of(ask) is OnConflict.QUEUE
        replaced: list[int] = []
        workflow_id = ask.options.id or ctx.db.workflow.reserve_id()
        if claim is not None and not queued:
            claims.take_claim(ctx, claim, workflow_id)
            if held is not None:
                self._dispatcher.cancel(ctx, held.workflow_id, f"replaced by workflow {workflow_id}")
                replaced.append(held.workflow_id)
        replaced += self._make_room(ctx, ask.options, workflow_id)
        line = claim if queued else self._take_slot(ctx, ask, workflow_id)
        birth = Birth(ask.options.name, root_id, self._arm(ctx, workflow_id, times, line), None)
        if line is None and times.starts_at is None:
            self._begin(ctx, ask, workflow_id, birth)
        else:
            self.waiting.put(ctx, ask, workflow_id, birth, line, times)
        return self._answer(ctx, ask, workflow_id, tuple(replaced), line, times)

    # -- who is there already --------------------------------------------------------------------

    def _instead(self, ctx: Context, ask: Ask, held: Any) -> Started | None:
        """What the caller has instead when another holds the claim; None if the start goes on."""
        policy = policy_of(ask)
        if policy in (OnConflict.QUEUE, OnConflict.REPLACE):
            return None
        holder = ctx.db.workflow.get(held.workflow_id)
        if holder is None:
            # It is about to be stored: its own first step asks for what it holds.
            raise SenderError("conflict", f"workflow {held.workflow_id} holds {held.claim!r} and has not begun yet")
        if policy is OnConflict.REJECT:
            raise claims.conflict(ctx, held, holder)
        if policy is OnConflict.JOIN:
            return Started(holder.id, holder.name, Outcome.JOINED, str(holder.status))
        return self._refresh(ctx, ask, held, holder)

    def _refresh(self, ctx: Context, ask: Ask, held: Any, holder: Any) -> Started:
        steps, cause = self._dispatcher.steps, Cause("start", "refresh")
        inside = steps.open.get(holder.id)
        if inside is not None:
            steps.defer(inside, Deferred("tell", "on_conflict", ask.payload, cause))
        elif holder.status is PENDING:
            self.waiting.refresh(ctx, holder.id, ask.payload)
        elif is_awake(holder.status):
            steps.step(ctx, holder, ask.kind, ask.kind.handler.on_conflict, ask.payload, cause, refusable=True)
        else:
            raise claims.conflict(ctx, held, holder, " and can take no step now")
        status = ctx.db.workflow.require(holder.id).status
        return Started(holder.id, holder.name, Outcome.REFRESHED, str(status))

    def _make_room(self, ctx: Context, options: StartOptions, workflow_id: int) -> list[int]:
        """Check that the id and the name are free, or take them over from workflows that have ended."""
        table, replaced = ctx.db.workflow, []
        by_id = None if options.id is None else table.get(options.id)
        by_name = None if options.name is None else names.with_name(ctx, options.name)
        if options.id in self._dispatcher.steps.open:
            raise SenderError("already_exists", f"workflow {options.id} is in a step", workflow_id=options.id)
        for row, what in ((by_id, "id"), (by_name, "name")):
            if row is not None and (options.reuse != "start_new" or is_live(row.status)):
                raise names.taken(row, what)
        if by_id is not None:
            self._succeed(ctx, by_id, workflow_id)
            replaced.append(by_id.id)
        if by_name is not None and by_name is not by_id:
            self._note(ctx, by_name, workflow_id)
            table.update(by_name.id, name=f"{by_name.name}~{by_name.id}")
            replaced.append(by_name.id)
        return replaced

    def _succeed(self, ctx: Context, row: Any, workflow_id: int) -> None:
        """A later workflow gets the very id: the row goes, and what it replaced itself is kept."""
        table = ctx.db.workflow_lineage
        before = [
            {name: getattr(old, name) for name in table.schema.column_names if name != "id"}
            for old in table.lookup(("workflow_id",), (row.id,))
        ]
        self.remove(ctx, row)
        invariant(row.id not in ctx.db.workflow.rows, "a removed workflow is gone")
        for columns in before:
            table.insert(**columns)
        self._note(ctx, row, workflow_id)

    @staticmethod
    def _note(ctx: Context, row: Any, workflow_id: int) -> None:
        ctx.db.workflow_lineage.insert(
            workflow_id=workflow_id,
            replaced_id=row.id,
            name=row.name,
            status=row.status,
            result=row.result,
            error_message=row.error_message,
            created_at=row.created_at,
            ended_at=row.updated_at if row.ended_at is None else row.ended_at,
        )

    # -- descent, limits, times ------------------------------------------------------------------

    def _root_of(self, ctx: Context, parent_id: int | None) -> int | None:
        """The first ancestor; ``SenderError`` ``limit_exceeded`` for a child too deep down."""
        if parent_id is None:
            return None
        depth, ancestor, above = 1, parent_id, self._parent(ctx, parent_id)
        while above is not None:
            depth, ancestor, above = depth + 1, above, self._parent(ctx, above)
            if depth > CHILD_DEPTH_MAX:
                raise SenderError(
                    "limit_exceeded",
                    f"a child of workflow {parent_id} would be child number {depth} in a line of descent, and "
                    f"{CHILD_DEPTH_MAX} are allowed; start it without a parent",
                    kind="child_depth",
                    value=depth,
                    limit=CHILD_DEPTH_MAX,
                )
        check_children(ctx, parent_id, is_own=parent_id in self._dispatcher.steps.open)
        return ancestor

    def _parent(self, ctx: Context, workflow_id: int) -> int | None:
        row: Any = self._dispatcher.steps.open.get(workflow_id) or ctx.db.workflow.get(workflow_id)
        if row is None:
            raise SenderError("unknown_workflow", f"there is no workflow {workflow_id}", workflow_id=workflow_id)
        parent_id: int | None = row.parent_id
        return parent_id

    @staticmethod
    def _take_slot(ctx: Context, ask: Ask, workflow_id: int) -> str | None:
        """Take a slot, if the type has a limit; the line to wait in if none is free."""
        slot = claims.slot_of(ask)
        if slot is None:
            return None
        if claims.check_slot(ctx, ask, slot):
            return slot
        ctx.db.workflow_slot.insert(workflow_id=workflow_id, slot=slot, since=ctx.now)
        return None

    @staticmethod
    def _arm(ctx: Context, workflow_id: int, times: Times, line: str | None) -> int | None:
        """Arm the deadlines that are known already; returns the first of them."""
        if times == (None, None, None, None):
            return None
        run_ends_at = times.run_ends_at
        if times.lasts_us is not None and times.starts_at is None and line is None:
            run_ends_at = ctx.now + times.lasts_us
        deadlines.arm(ctx, workflow_id, Span.RUN, run_ends_at, times.lasts_us)
        deadlines.arm(ctx, workflow_id, Span.CHAIN, times.chain_ends_at)
        return deadlines.earliest(ctx, workflow_id)

    # -- going ahead -------------------------------------------------------------------------------

    def _begin(self, ctx: Context, ask: Ask, workflow_id: int, birth: Birth) -> None:
        w: Workflow[Any] = Workflow(ctx, ask.kind, workflow_id)
        w.entity_id = ask.entity_id
        w.correlation_id = ask.correlation_id
        w.owner = ctx.sender if ctx.timer is None else None
        w.parent_id = ask.parent_id
        self._dispatcher.starting.begin(ctx, ask.kind, w, ask.payload, birth)

    def _answer(
        self, ctx: Context, ask: Ask, workflow_id: int, replaced: tuple[int, ...], line: str | None, times: Times
    ) -> Started:
        if ask.options.attributes is not None or ask.options.tags is not None:
            self.label(ctx, workflow_id, ask.options.attributes, ask.options.tags)
        row = ctx.db.workflow.require(workflow_id)
        if line is not None:
            outcome = Outcome.QUEUED
        elif times.starts_at is not None:
            outcome = Outcome.DELAYED
        else:
            outcome = Outcome.REPLACED if replaced else Outcome.STARTED
        return Started(workflow_id, row.name, outcome, str(row.status), replaced, times.starts_at)
