"""Every error a caller can see, as one tree.

    ReactorError                     has a stable code, a sentence, details
    ├── SenderError                  the sender asked for something wrong; their desk
    │   └── ConstraintError          ... and a table's rule said no: table, column, value
    └── Fault                        we, the machine or the module's code; our desk
        └── Refusal                  nothing is broken, but we will not start like this

The code is for programs and never changes its meaning; the sentence is for people and says how to fix
it. ``CODES`` lists every code with its HTTP status; ``docs/errors.md`` prints the same table and a test
compares the two.
"""

from __future__ import annotations

from typing import Any, NoReturn

import orjson

CODES: dict[str, tuple[int, str]] = {
    # the sender's mistakes
    "bad_message": (400, "The message is not what the protocol describes."),
    "message_too_large": (413, "The message is longer than the limit named in the greeting."),
    "bad_arguments": (400, "Arguments of the wrong number, name, type or range."),
    "unknown_reducer": (404, "No reducer has that name."),
    "unknown_database": (404, "This server serves another database."),
    "unknown_table": (400, "No table has that name."),
    "unknown_column": (400, "The table has no such column."),
    "unknown_subscription": (404, "This connection holds no such subscription."),
    "unknown_type": (404, "No workflow type has that name."),
    "unknown_workflow": (404, "No workflow has that id."),
    "unknown_signal": (400, "The workflow's type does not declare that signal."),
    "unknown_command": (404, "No scheduled command has that name."),
    "type_retired": (409, "No more workflows of that type are started; those that live go on."),
    "unknown_update": (400, "The workflow's type does not declare that update."),
    "unknown_query": (400, "The workflow's type does not declare that query."),
    "not_awake": (409, "The workflow can take no step now: it is paused, faulted, not begun, or in a step already."),
    "not_active": (409, "The workflow has already ended."),
    "not_started": (409, "The workflow has not begun yet."),
    "stranded": (409, "Nothing would ever wake the workflow after that."),
    "wrong_status": (409, "That cannot be done to a workflow of this status."),
    "preview_required": (409, "So many workflows are only changed with the token of a preview."),
    "stale_preview": (409, "What the preview showed has changed, or its token belongs to something else."),
    "stale_lease": (409, "The task or subscription is not held with that token, or not any more."),
    "not_found": (404, "The row asked for does not exist."),
    "forbidden": (403, "This identity may not do that."),
    "unauthorized": (401, "The token is not one this server has issued."),
    "unsupported_query": (400, "The live query is outside the supported subset."),
    "bad_sql": (400, "SQLite could not prepare or run the statement."),
    "sql_forbidden": (403, "Only reading statements are allowed here."),
    "sql_deadline": (408, "The query ran past its deadline and was stopped."),
    "sql_too_large": (413, "The result is larger than the cap."),
    "snapshot_too_large": (413, "The live query matches more rows than a snapshot may carry."),
    "list_scan_cap_exceeded": (422, "Without its index the list would look at more rows than it may."),
    "too_many_groups": (422, "The aggregate has more distinct keys than it may."),
    "limit_exceeded": (429, "A limit of the server or the session was reached."),
    "queue_saturated": (429, "As many tasks wait in the queue as may."),
    "already_exists": (409, "Another workflow has that id or name."),
    "conflict": (409, "Another workflow holds exclusively what this one wants."),
    "key_reused": (409, "The idempotency key was already used for another request."),
    "key_spent": (409, "What was started under the idempotency key has been removed."),
    "unique_violation": (409, "A unique column already holds that value."),
    "bad_value": (400, "A column cannot hold that value."),
    "payload_too_large": (413, "A payload or state is larger than the cap."),
    "sender_error": (400, "The module refused the request."),
    # ours
    "internal": (500, "The module's code failed; the call was undone and the log has the details."),
    "bad_result": (500, "The reducer returned something that cannot be sent."),
    "budget_exceeded": (500, "The reducer ran longer than its budget and was undone."),
    "read_only": (503, "The store cannot be written now; nothing was changed."),
    "in_doubt": (503, "The store failed while this was being written; send it again with the same key."),
    "overloaded": (503, "Too many requests are waiting."),
    "starting": (503, "The reactor is still starting."),
    "stopping": (503, "The reactor is stopping."),
    "sql_unavailable": (503, "The SQL reader is not available at the moment."),
    "slow_consumer": (503, "The connection did not read what it was sent and was cut."),
    # we refuse to start
    "bad_declaration": (500, "A table, reducer or type was declared wrongly."),
    "module_failed": (500, "The module could not be imported or its init failed."),
    "schema_conflict": (409, "The data was written under a schema this one cannot take over."),
    "restart_needed": (409, "A reload cannot bring about what this version of the module changes."),
    "address_in_use": (500, "The address to listen on cannot be had."),
    "data_in_use": (500, "Another process owns the data directory."),
    "data_version": (500, "The data directory was written by another format version."),
    "data_damaged": (500, "A stored record does not match its checksum."),
    "unregistered_types": (409, "Live workflows belong to types that are not registered."),
    "storage_unsafe": (500, "The storage asked for cannot keep the promises."),
}


class ReactorError(Exception):
    """An error with a stable ``code`` from ``CODES``, a ``message`` for people and JSON-able ``details``."""

    def __init__(self, code: str, message: str, **details: Any) -> None:
        if code not in CODES:
            raise InvariantError(f"error code {code!r} is not in CODES")
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    @property
    def http_status(self) -> int:
        """The HTTP status that goes with the code."""
        return CODES[self.code][0]

    def to_json(self) -> dict[str, Any]:
        """The error as it goes over the wire: ``{"code", "message", ...details}``."""
        told = {"code": self.code, "message": self.message, **self.details}
        try:
            orjson.dumps(told)
        except TypeError:
            # What a module puts into an error may be anything; the answer must still leave.
            told = {name: _sendable(value) for name, value in told.items()}
        return told


def _sendable(value: Any) -> Any:
    try:
        orjson.dumps(value)
    except TypeError:
        return plain_text(value if isinstance(value, str) else repr(value)[:200])
    return value


def plain_text(text: str) -> str:
    """The text with whatever cannot be encoded (lone surrogates) written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


class SenderError(ReactorError):
    """The sender asked for something wrong. Modules raise it as ``SenderError("sender_error", "...")``."""


class ConstraintError(SenderError):
    """A table's rule refused a value; ``details`` name ``table``, ``column`` and ``value``."""


class Fault(ReactorError):
    """Something on our side went wrong; the sender may try again."""


class Refusal(Fault):
    """The reactor will not start like this; the message says what to do."""


class InvariantError(RuntimeError):
    """Something that cannot be was seen: a defect in this program."""


def invariant(condition: object, message: str) -> None:
    """Raise ``InvariantError`` unless ``condition`` holds; unlike ``assert`` it survives ``python -O``."""
    if not condition:
        raise InvariantError(message)


def refuse(code: str, message: str, **details: Any) -> NoReturn:
    """Raise a ``SenderError``; reads well at the end of a chain of checks."""
    raise SenderError(code, message, **details)
