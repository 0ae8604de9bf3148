"""The part of the engine that tells many workflows at once: its reducers."""

from __future__ import annotations

from typing import Any

from reactor.columns import INT64_MAX
from reactor.context import Context
from reactor.errors import SenderError
from reactor.module import Module
from workflows.dispatch import Dispatcher
from workflows.groups.facade import Groups
from workflows.groups.operations import Command, Operations, answer_of, take_up
from workflows.groups.orders import Carrier
from workflows.groups.preview import check_token, preview, targets_of
from workflows.groups.selection import Selection
from workflows.groups.tables import SCHEMAS, TURN_REDUCER, Keep
from workflows.groups.verbs import Order, Verb, labels_of, verb_of
from workflows.parts import Part

REASON_CHARS_MAX = 2_000
PAGE_MAX = 1_000


class GroupPart(Part):
    """Group commands. ``ctx.groups`` has them for game code."""

    schemas = SCHEMAS

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__(dispatcher)
        self.operations = Operations(Carrier(dispatcher))

    def declare(self, module: Module) -> None:
        """Add the reducers, ``ctx.groups``, and the look at a start for operations that nothing works off."""
        for function in (
            self.workflow_group_preview,
            self.workflow_group,
            self.workflow_signal_area,
            self.workflow_group_stop,
            self.workflow_group_operation,
            self.workflow_group_results,
        ):
            module.reducer(function)
        module.reducer(name=TURN_REDUCER, access="internal")(self.operations.work)
        module.extension("groups", lambda ctx: Groups(ctx, self.operations))
        module.on_start(take_up)

    def workflow_group_preview(self, ctx: Context, verb: str, filter: Selection) -> dict[str, Any]:
        """What ``workflow_group`` would do with this verb and filter; changes nothing.

        Returns ``{"count", "statuses", "samples", "unknown", "token", "needs_token"}``.
        """
        kind = _admit(ctx, verb)
        return preview(verb, kind, filter, targets_of(ctx, kind, filter))

    def workflow_group(
        self,
        ctx: Context,
        verb: str,
        filter: Selection,
        token: str | None = None,
        request_id: str | None = None,
        reason: str = "",
        name: str | None = None,
        payload: Any = None,
        results: Keep = Keep.PROBLEMS,
        force: bool = False,
    ) -> dict[str, Any]:
        """Tell all workflows that ``filter`` chooses: ``signal`` (of ``name`` with ``payload``), ``cancel`` and others.

        Returns ``{"operation", "verb", "status", "total", "done", "applied", "refused", "failed"}``, and ``results`` of
        each target for a group that was small enough to be done in the call. A larger one has the status ``Running``.
        """
        command = Command(filter, Order(verb, name, payload, reason), request_id, results)
        commands = self.dispatcher.commands
        try:
            answer = self._run(ctx, command, token, force)
        except SenderError:
            commands.refused(ctx, f"group_{verb[:40]}", None, reason=reason or None)
            raise
        # As for a single one: the trace of a signal is what it did, unless every command is to be kept.
        if verb != "signal" or commands.logs_starts:
            detail = f"{answer['total']} workflows of {filter.encoded().decode()}"
            commands.note(ctx, f"group_{verb}", None, reason=reason or None, detail=detail)
        return answer

    def _run(self, ctx: Context, command: Command, token: str | None, force: bool) -> dict[str, Any]:
        verb, filter = command.order.verb, command.selection
        kind = _admit(ctx, verb)
        _check_order(kind, command.order)
        if force and not ctx.is_owner:
            raise SenderError(
                "forbidden", "force is for the owner of the database; send the token of a preview instead"
            )
        answer = self.operations.answered(ctx, command)
        if answer is not None:
            return answer
        targets = targets_of(ctx, kind, filter)
        if token is not None or kind.always_token or not force:
            check_token(verb, kind, filter, targets, token)
        return self.operations.accept(ctx, command, targets.ids)

    def workflow_signal_area(
        self,
        ctx: Context,
        name: str,
        payload: Any = None,
        zone: str | int | None = None,
        entities: list[int] | None = None,
        type: str | None = None,
        request_id: str | None = None,
    ) -> dict[str, Any]:
        """Signal the workflows of a zone (those with that attribute), or of some entities; a result for every target.

        Returns as ``workflow_group``; of a group too large for one call ask ``workflow_group_results`` for the results.
        """
        if zone is None and entities is None:
            raise SenderError("bad_arguments", "give a zone, or entities, or both", parameter="zone")
        if entities == []:
            # An area with nobody in it is no mistake.
            return self.workflow_group(ctx, "signal", Selection(ids=[]), None, request_id, "", name, payload)
        chosen = Selection(zone=zone, entity_id=entities, type=type)
        return self.workflow_group(ctx, "signal", chosen, None, request_id, "", name, payload, Keep.ALL)

    def workflow_group_stop(self, ctx: Context, id: int, reason: str) -> dict[str, Any]:
        """Leave the targets alone that an operation has not come to; for whoever asked for it and for the owner."""
        with self.dispatcher.commands.command(ctx, "group_stop", reason=reason) as entry:
            answer = self.operations.stop(ctx, _operation(ctx, id), reason[:REASON_CHARS_MAX])
            entry.detail = f"operation {id}: {answer['total'] - answer['done']} workflows left alone"
        return answer

    def workflow_group_operation(self, ctx: Context, id: int) -> dict[str, Any]:
        """How far an operation has come; returns as ``workflow_group``."""
        return answer_of(_operation(ctx, id))

    def workflow_group_results(self, ctx: Context, id: int, after: int = 0, limit: int = 100) -> dict[str, Any]:
        """What came of the targets of a large group, a page at a time: ``{"results", "next"}``.

        ``next`` is what to give as ``after`` for the next page; None when an operation that is over has no more.
        """
        row = _operation(ctx, id)
        if not 0 < limit <= PAGE_MAX:
            raise SenderError("bad_arguments", f"parameter limit: from 1 to {PAGE_MAX}", parameter="limit")
        if not 0 <= after <= INT64_MAX:
            raise SenderError("bad_arguments", "parameter after: the `next` of a page, or 0", parameter="after")
        found = list(
            ctx.db.workflow_group_result.range("id", after, operation_id=id, include=(False, True), limit=limit)
        )
        told = [
            {"id": each.workflow_id, "outcome": each.outcome, "status": each.status, "code": each.code,
             "message": each.message}
            for each in found
        ]  # fmt: skip
        is_over = row.ended_at is not None and len(found) < limit
        return {"results": told, "next": None if is_over else found[-1].id if found else after}


def _admit(ctx: Context, verb: str) -> Verb:
    kind = verb_of(verb)
    if kind.owner_only and not ctx.is_owner and ctx.sender is not None:
        raise SenderError("forbidden", f"{verb} of groups is for the owner of the database", verb=verb)
    return kind


def _check_order(kind: Verb, order: Order) -> None:
    if order.verb == "signal" and not order.name:
        raise SenderError("bad_arguments", "parameter name: give the name of the signal", parameter="name")
    if order.verb == "tag":
        labels_of(order)
    if kind.says_why and not order.reason.strip():
        raise SenderError("bad_arguments", f"parameter reason: say why to {order.verb}; it is kept", parameter="reason")
    if len(order.reason) > REASON_CHARS_MAX:
        raise SenderError(
            "bad_arguments", f"parameter reason: {REASON_CHARS_MAX} characters at most", parameter="reason"
        )


def _operation(ctx: Context, operation_id: int) -> Any:
    row = ctx.db.workflow_group_operation.get(operation_id)
    if row is None:
        raise SenderError("not_found", f"there is no group operation {operation_id}", operation=operation_id)
    if not ctx.is_owner and ctx.sender is not None and row.actor != ctx.sender:
        raise SenderError("forbidden", f"group operation {operation_id} is somebody else's", operation=operation_id)
    return row
