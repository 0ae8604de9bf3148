"""The tables of group commands: what was asked, whom it is for, what came of it, and the row that works it off."""

from __future__ import annotations

import enum

from reactor.columns import Duration, Timestamp
from reactor.schema import TableSchema, declare_table, index, primary_key
from reactor.timers import CatchUp

OPERATION_TABLE = "workflow_group_operation"
TARGETS_TABLE = "workflow_group_targets"
RESULT_TABLE = "workflow_group_result"
TURN_TABLE = "workflow_group_turn"
TURN_REDUCER = "workflow_group_work"


class GroupStatus(enum.StrEnum):
    """Where a group command stands."""

    RUNNING = "Running"
    DONE = "Done"
    CANCELLED = "Cancelled"


class Keep(enum.StrEnum):
    """Which results of a large group are kept as rows."""

    PROBLEMS = "problems"
    """Only of targets that refused or failed."""
    ALL = "all"


class OperationRow:
    """A group command that is worked off in pieces, or that has a ``request_id`` and so may be sent again.

    ``filter`` and ``payload`` are JSON text. ``actor`` is the identity it acts for, ``is_owner`` and ``is_trusted``
    what that one may: a trusted one is game code, which asks nobody. ``request`` is the actor and its ``request_id``,
    and ``fingerprint`` tells the same command from another. ``total`` targets were fixed when it was accepted, ``done``
    of them are behind it, each either ``applied``, ``refused`` or ``failed``. ``results`` is the JSON text of what came
    of each target, where all were done at once. ``stop_reason`` is why it was stopped before its end.
    """

    id: int = primary_key(auto=True)
    verb: str
    filter: str
    name: str | None
    payload: str | None
    reason: str
    actor: str | None
    is_owner: bool
    is_trusted: bool
    request: str | None
    fingerprint: str
    keep: Keep
    status: GroupStatus
    total: int
    done: int = 0
    applied: int = 0
    refused: int = 0
    failed: int = 0
    results: str | None = None
    stop_reason: str | None = None
    created_at: Timestamp
    ended_at: Timestamp | None = None


class TargetsRow:
    """A piece of the targets of an operation that are still to be done: ``ids`` are theirs, as msgpack.

    ``first`` is the place of the first one among all targets; those before the operation's ``done`` are behind it.
    """

    id: int = primary_key(auto=True)
    operation_id: int
    first: int
    ids: bytes


class ResultRow:
    """What came of one target of a large group. ``status`` is the workflow's after it, None if there is none."""

    id: int = primary_key(auto=True)
    operation_id: int
    workflow_id: int
    outcome: str
    status: str | None
    code: str | None
    message: str | None


class TurnRow:
    """The next piece of work; there is one row while any operation runs.

    A turn moves its row to the next instant. The interval is for a turn that fails as a whole, which cannot: it is
    tried again a second later, and nothing is stranded.
    """

    scheduled_id: int = primary_key(auto=True)
    scheduled_at: Timestamp
    interval: Duration
    catch_up: CatchUp = CatchUp.COALESCE


SCHEMAS: tuple[TableSchema, ...] = (
    declare_table(OperationRow, name=OPERATION_TABLE, indexes=["status"], unique=["request"]),
    declare_table(TargetsRow, name=TARGETS_TABLE, indexes=["operation_id"]),
    declare_table(ResultRow, name=RESULT_TABLE, indexes=[index("operation_id", "id", ordered=True)]),
    declare_table(TurnRow, name=TURN_TABLE, scheduled=TURN_REDUCER),
)
