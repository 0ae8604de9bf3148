"""Tables of what was stopped, what went wrong and what was asked for. They are the owner's to read."""

from __future__ import annotations

from reactor.columns import U32, Duration, Timestamp
from reactor.schema import TableSchema, declare_table, index, primary_key
from workflows.life import Status

PARKED_TABLE = "workflow_parked"
ERROR_TABLE = "execution_error"
COMMAND_TABLE = "command_log"
WARNING_TABLE = "workflow_warning"
RETRY_REDUCER = "workflow_retry_fire"


class ParkedRow:
    """A workflow that an operator has paused, or that a failure has parked; goes when it goes on or ends.

    ``since`` is when, ``actor`` who did it and ``reason`` why. Of one that is Faulted, ``kind`` and ``name`` are what
    its step ran for (``timer`` ``expire``), None if that is not known: then it is given to ``on_recover``. ``hook`` and
    ``argument`` (JSON text), or ``timer_id``, are what it takes to run that again. ``attempt`` counts the failures and
    ``error_id`` is the last in ``execution_error``. It is tried again at ``scheduled_at`` unless ``cancelled``: then
    somebody has to decide. ``held`` marks one that waits for its type to be registered.
    """

    scheduled_id: int = primary_key(auto=True)
    scheduled_at: Timestamp
    cancelled: bool = True
    held: bool = False
    workflow_id: int
    status: Status
    since: Timestamp
    actor: str
    reason: str | None
    kind: str | None = None
    name: str | None = None
    hook: str | None = None
    argument: str | None = None
    timer_id: int | None = None
    attempt: U32 = 0
    error_id: int | None = None


class ErrorRow:
    """One failure of one workflow, written in the commit that bears the consequence.

    ``cause`` is what the step ran for. ``pointer_id`` is the place in a script. ``follows`` is the failure before this
    one of the same thing, and ``attempt`` counts them. ``delay_us`` is how long after ``at`` it is tried again, None if
    it is not. Ends from outside are here as well, with what was said as ``message`` and no traceback.
    """

    id: int = primary_key(auto=True)
    at: Timestamp
    workflow_id: int
    pointer_id: int | None = None
    cause: str
    attempt: U32 = 1
    follows: int | None = None
    delay_us: Duration | None = None
    category: str
    message: str
    traceback: str | None = None


class CommandRow:
    """Something that somebody outside asked of a workflow. ``caller`` is an identity.

    ``outcome`` is ``accepted`` or ``refused``, with the error's ``code``. ``detail`` says more: the sentence of the
    refusal, or whether a verb applied. ``omitted`` counts refusals before this one that were too many to be written.
    """

    id: int = primary_key(auto=True)
    at: Timestamp
    caller: str
    verb: str
    workflow_id: int | None
    workflow_type: str | None
    reason: str | None
    outcome: str
    code: str | None = None
    detail: str | None = None
    omitted: int = 0


class WarningRow:
    """A workflow that has come near a limit, once for each ``kind``: ``value`` was its size then, of ``bound``."""

    id: int = primary_key(auto=True)
    workflow_id: int
    kind: str
    value: int
    bound: int
    at: Timestamp


PARKED_SCHEMA = declare_table(ParkedRow, name=PARKED_TABLE, unique=["workflow_id"], scheduled=RETRY_REDUCER)
ERROR_SCHEMA = declare_table(ErrorRow, name=ERROR_TABLE, indexes=["workflow_id"])
COMMAND_SCHEMA = declare_table(
    CommandRow, name=COMMAND_TABLE, indexes=["outcome", "workflow_id", index("outcome", "id", ordered=True)]
)
WARNING_SCHEMA = declare_table(
    WarningRow, name=WARNING_TABLE, indexes=["workflow_id"], unique=[("workflow_id", "kind")]
)

SCHEMAS: tuple[TableSchema, ...] = (PARKED_SCHEMA, ERROR_SCHEMA, COMMAND_SCHEMA, WARNING_SCHEMA)
