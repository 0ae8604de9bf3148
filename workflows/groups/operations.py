"""Group commands that take longer than a call: accepted with their targets, worked off in pieces, stopped.

A piece is one commit: what was done to its targets, what came of it, and how far the operation has come. So after a
crash the next piece goes on where the last one ended, and no target is told twice. Operations are worked off one after
another in the order in which they were accepted, so two commands to the same workflow reach it in that order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import orjson

from reactor.clock import days, seconds
from reactor.context import Context
from reactor.errors import SenderError
from workflows.groups.orders import APPLIED, Carrier, Outcome, acting_for
from workflows.groups.selection import Selection
from workflows.groups.tables import GroupStatus, Keep
from workflows.groups.verbs import Order

AT_ONCE_MAX = 250
"""Targets of one call, and of one piece: some ten milliseconds, so that others wait no longer."""
RETENTION_US = days(7)
"""How long what came of an operation can be asked for."""
OPERATIONS_MAX = 10_000
"""Operations kept at most, the oldest forgotten first."""
CLIENT_RUNNING_MAX = 4
"""Operations of one client that run or wait: they are worked off in one line, in which others stand too."""
RESULTS_MAX = 200_000
"""Results kept at most, those of the oldest operations forgotten first."""
FORGET_MAX = 500
"""Old results removed with each new operation and each piece, so that they go faster than they come."""
REQUEST_CHARS_MAX = 128
RETRY_US = seconds(1)

_ids_of: Any = msgspec.msgpack.Decoder(list[int]).decode


class Command(NamedTuple):
    """A group command as it was asked."""

    selection: Selection
    order: Order
    request_id: str | None = None
    keep: Keep = Keep.PROBLEMS
    is_trusted: bool = False

    def payload_text(self) -> str | None:
        """The payload as it is stored."""
        given = self.order.payload
        if given is None:
            return None
        try:
            return msgspec.json.encode(given).decode()
        except (TypeError, OverflowError, ValueError, RecursionError) as error:
            raise SenderError(
                "bad_arguments", f"parameter payload: it is not JSON: {error}", parameter="payload"
            ) from None

    def fingerprint(self) -> str:
        """Tells this command from another with its ``request_id``."""
        order = self.order
        said = [order.verb, self.selection.encoded().decode(), order.name, self.payload_text(), order.reason, self.keep]
        return hashlib.blake2b(orjson.dumps(said), digest_size=16).hexdigest()

    def request(self, ctx: Context) -> str | None:
        """What is unique of the command: whose it is, and its ``request_id``; ``SenderError`` ``bad_arguments``."""
        if self.request_id is None:
            return None
        if not 0 < len(self.request_id) <= REQUEST_CHARS_MAX:
            raise SenderError(
                "bad_arguments",
                f"parameter request_id: it has 1 to {REQUEST_CHARS_MAX} characters",
                parameter="request_id",
            )
        return f"{ctx.sender or ''}|{self.request_id}"


class Operations:
    """The operations of one engine. ``at_once_max`` is how many targets are done in one call, and in one piece."""

    def __init__(self, carrier: Carrier, at_once_max: int = AT_ONCE_MAX) -> None:
        self._carrier = carrier
        self.at_once_max = at_once_max

    # -- accepting -----------------------------------------------------------------------------

    def answered(self, ctx: Context, command: Command) -> dict[str, Any] | None:
        """The answer to a command that came before with the same ``request_id``, as things are now; None if it is new.

        ``SenderError`` ``key_reused`` if another command had it.
        """
        request = command.request(ctx)
        row = None if request is None else ctx.db.workflow_group_operation.first(request=request)
        if row is None:
            return None
        if row.fingerprint != command.fingerprint():
            raise SenderError(
                "key_reused",
                f"request_id {command.request_id!r} was used for another group command; use a new one",
                operation=row.id,
            )
        return answer_of(row)

    def accept(self, ctx: Context, command: Command, ids: list[int]) -> dict[str, Any]:
        """Do it at once to a small group; fix the targets of a large one, and begin in the next commit.

        A small group waits as well if an earlier operation has yet to come to one of its targets.
        """
        done: list[Outcome] = []
        if len(ids) <= self.at_once_max and not self._has_to_wait(ctx, ids):
            done = self._carrier.carry_out(ctx, command.order, ids, command.is_trusted)
        rest = ids[len(done) :]
        if not rest and command.request_id is None:
            return _answer(None, command.order.verb, GroupStatus.DONE, len(ids), done)
        if rest:
            _check_line(ctx, command)
        _forget(ctx)
        row = self._insert(ctx, command, len(ids), done, is_done=not rest)
        if rest:
            _keep_results(ctx, row, done)
            self._store_targets(ctx, row.id, rest, len(done))
            _go_on(ctx)
        return answer_of(row)

    def _has_to_wait(self, ctx: Context, ids: Sequence[int]) -> bool:
        targets = ctx.db.workflow_group_targets.rows
        if not targets:
            return False
        wanted = frozenset(ids)
        return any(not wanted.isdisjoint(_ids_of(row.ids)) for row in targets.values())

    def _store_targets(self, ctx: Context, operation_id: int, ids: list[int], first: int) -> None:
        for at in range(0, len(ids), self.at_once_max):
            packed = msgspec.msgpack.encode(ids[at : at + self.at_once_max])
            ctx.db.workflow_group_targets.insert(operation_id=operation_id, first=first + at, ids=packed)

    @staticmethod
    def _insert(ctx: Context, command: Command, total: int, done: list[Outcome], is_done: bool) -> Any:
        order = command.order
        return ctx.db.workflow_group_operation.insert(
            verb=order.verb,
            filter=command.selection.encoded().decode(),
            name=order.name,
            payload=command.payload_text(),
            reason=order.reason,
            actor=ctx.sender,
            is_owner=ctx.is_owner,
            is_trusted=command.is_trusted,
            request=command.request(ctx),
            fingerprint=command.fingerprint(),
            keep=command.keep,
            status=GroupStatus.DONE if is_done else GroupStatus.RUNNING,
            total=total,
            results=orjson.dumps([each.to_json() for each in done]).decode() if is_done else None,
            created_at=ctx.now,
            ended_at=ctx.now if is_done else None,
            **_counts(done),
        )

    # -- working off ---------------------------------------------------------------------------

    def work(self, ctx: Context, turn: Any) -> None:
        """One piece of the oldest operation; run by the row of ``workflow_group_turn``."""
        row = _oldest(ctx)
        if row is not None:
            with acting_for(ctx, row.actor, row.is_owner):
                self._piece(ctx, row)
        turns = ctx.db.workflow_group_turn
        if _oldest(ctx) is None:
            turns.delete(turn.scheduled_id)
        else:
            # Not in this turn of the reactor: live calls come in between.
            turns.update(turn.scheduled_id, scheduled_at=ctx.real_now + 1)

    def _piece(self, ctx: Context, row: Any) -> None:
        pieces = ctx.db.workflow_group_targets
        operations = ctx.db.workflow_group_operation
        piece = pieces.first(operation_id=row.id)
        ids: list[int] = [] if piece is None else _ids_of(piece.ids)[row.done - piece.first :]
        share = ids[: self._carrier.share(ctx, ids, self.at_once_max)]
        done = self._carrier.carry_out(ctx, _order_of(row), share, row.is_trusted)
        if piece is not None and len(done) == len(ids):
            pieces.delete(piece.id)
        _keep_results(ctx, row, done)
        _forget(ctx)
        counts = _counts(done)
        # Read again: one of its targets may have stopped it.
        current = operations.require(row.id)
        changes: dict[str, Any] = {name: getattr(current, name) + count for name, count in counts.items()}
        if current.status is GroupStatus.RUNNING and (piece is None or changes["done"] >= current.total):
            changes.update(status=GroupStatus.DONE, ended_at=ctx.now)
        operations.update(row.id, **changes)

    def stop(self, ctx: Context, row: Any, reason: str) -> dict[str, Any]:
        """Leave the targets alone that are still to be done; ``SenderError`` ``not_active`` if there are none."""
        if row.status is not GroupStatus.RUNNING:
            raise SenderError("not_active", f"group operation {row.id} is over ({row.status})", operation=row.id)
        pieces = ctx.db.workflow_group_targets
        for piece in pieces.where(operation_id=row.id):
            pieces.delete(piece.id)
        stopped = ctx.db.workflow_group_operation.update(
            row.id, status=GroupStatus.CANCELLED, ended_at=ctx.now, stop_reason=reason
        )
        return answer_of(stopped)


def take_up(ctx: Context) -> None:
    """At a start: whatever was done to the tables by hand, an operation that runs has something that works it off."""
    if _oldest(ctx) is not None:
        _go_on(ctx)


def _go_on(ctx: Context) -> None:
    turns = ctx.db.workflow_group_turn
    if not turns.rows:
        turns.insert(scheduled_at=ctx.real_now + 1, interval=RETRY_US)


def _oldest(ctx: Context) -> Any:
    return ctx.db.workflow_group_operation.first(status=GroupStatus.RUNNING)


def _check_line(ctx: Context, command: Command) -> None:
    """``SenderError`` ``limit_exceeded`` for a client that has enough in line."""
    if command.is_trusted or ctx.is_owner or ctx.sender is None:
        return
    running = ctx.db.workflow_group_operation.where(status=GroupStatus.RUNNING)
    if sum(row.actor == ctx.sender for row in running) >= CLIENT_RUNNING_MAX:
        raise SenderError(
            "limit_exceeded",
            f"{CLIENT_RUNNING_MAX} group operations of this identity are not done yet; wait for one, or stop it",
            limit=CLIENT_RUNNING_MAX,
        )


def _order_of(row: Any) -> Order:
    return Order(row.verb, row.name, None if row.payload is None else orjson.loads(row.payload), row.reason)


def _keep_results(ctx: Context, row: Any, done: Iterable[Outcome]) -> None:
    table = ctx.db.workflow_group_result
    for each in done:
        if row.keep is Keep.ALL or each.outcome != APPLIED:
            table.insert(
                operation_id=row.id,
                workflow_id=each.id,
                outcome=each.outcome,
                status=each.status,
                code=each.code,
                message=each.message,
            )


def _forget(ctx: Context) -> None:
    """Remove the oldest operation that ended long ago, or as much of its results as is quickly done."""
    operations, results = ctx.db.workflow_group_operation, ctx.db.workflow_group_result
    oldest = next(iter(operations.rows.values()), None)
    if oldest is None or oldest.ended_at is None:
        return
    is_full = len(operations) >= OPERATIONS_MAX or len(results) > RESULTS_MAX
    if oldest.ended_at > ctx.now - RETENTION_US and not is_full:
        return
    old = list(results.range("id", operation_id=oldest.id, limit=FORGET_MAX))
    for row in old:
        results.delete(row.id)
    if len(old) < FORGET_MAX:
        operations.delete(oldest.id)


# -- answers ---------------------------------------------------------------------------------------


def answer_of(row: Any) -> dict[str, Any]:
    """What callers are told of an operation; ``results`` of each target where all were done in the call."""
    told = {
        "operation": row.id,
        "verb": row.verb,
        "status": row.status,
        "total": row.total,
        "done": row.done,
        "applied": row.applied,
        "refused": row.refused,
        "failed": row.failed,
    }
    if row.results is not None:
        told["results"] = orjson.loads(row.results)
    return told


def _answer(
    operation_id: int | None, verb: str, status: GroupStatus, total: int, done: Sequence[Outcome]
) -> dict[str, Any]:
    counted = {"operation": operation_id, "verb": verb, "status": status, "total": total, **_counts(done)}
    return {**counted, "results": [each.to_json() for each in done]}


def _counts(done: Sequence[Outcome]) -> dict[str, int]:
    counts = {"done": len(done), "applied": 0, "refused": 0, "failed": 0}
    for each in done:
        counts[each.outcome] += 1
    return counts
