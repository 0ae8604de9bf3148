"""Signal the workflow that is meant, or start it if there is none: one commit, so no two callers start it twice.

Which one is meant is said by a name, or by what a start would hold exclusively, or by type, entity and correlation.
"""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

import msgspec

from reactor.context import Context
from reactor.errors import SenderError
from workflows import messages
from workflows.life import is_live
from workflows.signalling import DUPLICATE, Signalling
from workflows.start import claims, names
from workflows.start.asking import Ask
from workflows.start.options import NO_OPTIONS, StartOptions
from workflows.starting import Starting
from workflows.steps import Steps

STARTED, SIGNALLED = "started", "signalled"


class OnFinished(enum.StrEnum):
    """What happens if the one that is meant has ended."""

    REFUSE = "refuse"
    """The caller gets ``conflict``."""
    START_NEW = "start_new"
    """Another one is started; it takes over the name."""


class Wanted(NamedTuple):
    """What is asked: a signal with its payload, and the start that comes in its place.

    ``signal_new``: one that is started is sent the signal as well.
    """

    workflow_type: str
    signal: str
    payload: Any
    start_payload: Any
    entity_id: int | None
    correlation_id: str | None
    signal_id: str | None
    on_finished: OnFinished
    signal_new: bool
    options: StartOptions


class Came(NamedTuple):
    """What came of it: ``did`` is ``started`` or ``signalled``; ``outcome`` as of the signal or the start."""

    did: str
    id: int
    name: str
    status: str
    outcome: str
    position: int | None


class SignalOrStart:
    """Signals or starts workflows."""

    def __init__(self, steps: Steps, starting: Starting, signalling: Signalling) -> None:
        self._steps = steps
        self._starting = starting
        self._signalling = signalling

    def find(self, ctx: Context, wanted: Wanted) -> Any:
        """The row of the one that is meant: the live one, else the last that has ended, or None.

        ``SenderError``: ``bad_arguments`` if nothing says which is meant, ``conflict`` if several live ones may be,
        or the name belongs to a workflow of another type.
        """
        kind = self._steps.registry.require(wanted.workflow_type)
        given = kind.payload.read(wanted.start_payload, self._steps.limits.payload_bytes_max)
        if wanted.options.name is not None:
            row = names.with_name(ctx, wanted.options.name)
            if row is not None and row.workflow_type != kind.name:
                raise _conflict(f"{wanted.options.name!r} is the name of a workflow of type {row.workflow_type}", row)
            return row
        claim = claims.claim_of(Ask(kind, wanted.entity_id, wanted.correlation_id, given, None, wanted.options))
        if claim is not None:
            held = ctx.db.workflow_claim.get(claim)
            return None if held is None else ctx.db.workflow.get(held.workflow_id)
        return self._by_correlation(ctx, wanted)

    @staticmethod
    def _by_correlation(ctx: Context, wanted: Wanted) -> Any:
        column = "entity_id" if wanted.correlation_id is None else "correlation_id"
        value = wanted.entity_id if wanted.correlation_id is None else wanted.correlation_id
        if value is None:
            raise SenderError(
                "bad_arguments",
                "which workflow is meant? give entity_id, correlation_id or a name in the options",
                parameter="entity_id",
            )
        found = [
            row
            for row in ctx.db.workflow.lookup((column,), (value,))
            if row.workflow_type == wanted.workflow_type and row.entity_id == wanted.entity_id
        ]
        live = [row for row in found if is_live(row.status)]
        if len(live) > 1:
            raise _conflict(f"{len(live)} live workflows of type {wanted.workflow_type} may be meant", live[0])
        return (live or found or [None])[-1]

    def ask(self, ctx: Context, wanted: Wanted, found: Any) -> Came:
        """Signal ``found``, which ``find`` returned, or start another.

        ``SenderError``: ``conflict`` if the one that is meant has ended and ``on_finished`` is ``refuse``, and what
        ``Signalling.send`` and ``Starting.start_with`` raise; nothing is stored then.
        """
        kind = self._steps.registry.require(wanted.workflow_type)
        # Checked in any case, so that what is wrong with it does not depend on who comes first.
        given = self._signalling.read(kind, wanted.signal, wanted.payload)[1]
        if wanted.signal_id is not None:
            messages.check_id("signal_id", wanted.signal_id)
        if found is not None and (is_live(found.status) or self._is_known(ctx, found.id, wanted)):
            return self._signal(ctx, wanted, found)
        if found is not None and wanted.on_finished is OnFinished.REFUSE:
            raise _conflict(
                f"workflow {found.id} has ended ({found.status}); on_finished=start_new starts another", found
            )
        with ctx.savepoint():
            return self._start(ctx, wanted, given)

    @staticmethod
    def _is_known(ctx: Context, workflow_id: int, wanted: Wanted) -> bool:
        if wanted.signal_id is None:
            return False
        marks = ctx.db.workflow_signal_id
        return marks.first(workflow_id=workflow_id, name=wanted.signal, signal_id=wanted.signal_id) is not None

    def _signal(self, ctx: Context, wanted: Wanted, row: Any) -> Came:
        sent = self._signalling.send(ctx, row.id, wanted.signal, wanted.payload, wanted.signal_id)
        did = SIGNALLED
        if sent.outcome == DUPLICATE:
            mark = ctx.db.workflow_signal_id.first(workflow_id=row.id, name=wanted.signal, signal_id=wanted.signal_id)
            did = STARTED if mark is not None and mark.outcome == STARTED else SIGNALLED
        return Came(did, row.id, row.name, str(sent.status), sent.outcome, sent.position)

    def _start(self, ctx: Context, wanted: Wanted, given: Any) -> Came:
        options = wanted.options
        if wanted.on_finished is OnFinished.START_NEW and options.name is not None:
            options = msgspec.structs.replace(options, reuse="start_new")
        started = self._starting.start_with(
            ctx, wanted.workflow_type, wanted.entity_id, wanted.correlation_id, wanted.start_payload, None, options
        )
        status, position = started.status, None
        if wanted.signal_new:
            sent = self._signalling.send(ctx, started.id, wanted.signal, given)
            status, position = str(sent.status), sent.position
        if wanted.signal_id is not None:
            digest = messages.fingerprint(given)
            messages.remember(ctx, started.id, wanted.signal, wanted.signal_id, digest, STARTED, position, status)
        return Came(STARTED, started.id, started.name, status, str(started.outcome), position)


def wanted(
    workflow_type: str,
    signal: str,
    payload: Any = None,
    *,
    start_payload: Any = None,
    entity_id: int | None = None,
    correlation_id: str | None = None,
    signal_id: str | None = None,
    on_finished: OnFinished | str = OnFinished.REFUSE,
    signal_new: bool = False,
    options: StartOptions | None = None,
) -> Wanted:
    """What is asked, with what is usual where nothing is said."""
    return Wanted(
        workflow_type, signal, payload, start_payload, entity_id, correlation_id, signal_id,
        OnFinished(on_finished), signal_new, options or NO_OPTIONS,
    )  # fmt: skip


def _conflict(message: str, row: Any) -> SenderError:
    return SenderError("conflict", message, workflow_id=row.id, status=str(row.status))
