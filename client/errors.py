"""Every error this package raises, as one tree.

    ClientError
    ├── CallFailed              the server answered with an error: code, message, details
    │   ├── SenderMistake       the request was wrong; sending it again gives the same answer
    │   │   ├── Forbidden       ... because this identity may not
    │   │   ├── Unknown         ... because a name, id or row does not exist
    │   │   └── ConstraintFailed  ... because a table's rule refused a value: table, column, value
    │   └── ServerFault         the server or the module failed; nothing was changed unless said otherwise
    │       └── Unavailable     ... for the moment; trying again later is sensible
    ├── ConnectFailed           no connection could be made, or the server refused this one for good
    ├── ConnectionLost          the connection ended before the answer: the outcome is in doubt
    ├── ConnectionClosed        the connection was closed by this side; nothing was sent
    ├── BadRequest              the request cannot be sent at all (not JSON, too long): found here, not there
    └── ProtocolViolation       the server said something the protocol does not allow

The codes are the server's and stable; programs look at ``error.code``, people read ``error.message``.
A code this version does not know becomes a plain ``CallFailed``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """Anything that can go wrong in this package."""


class CallFailed(ClientError):
    """The server answered a request with an error.

    ``code`` is stable and for programs, ``message`` is for people, ``details`` holds what else the server said.
    """

    def __init__(self, code: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"{message} [{code}]")
        self.code = code
        self.message = message
        self.details: dict[str, Any] = dict(details or {})


class SenderMistake(CallFailed):
    """The request was wrong: sending the same again gives the same answer."""


class Forbidden(SenderMistake):
    """This identity may not do that, or its token is not known."""


class Unknown(SenderMistake):
    """A name, id or row that does not exist."""


class ConstraintFailed(SenderMistake):
    """A table's rule refused a value; ``details`` name ``table``, ``column`` and ``value``."""


class ServerFault(CallFailed):
    """The server or the module's code failed; ``code`` ``in_doubt`` means the outcome is not known."""


class Unavailable(ServerFault):
    """The server cannot do this at the moment; trying again later is sensible."""


class ConnectFailed(ClientError):
    """No connection could be made, or the server refused it for good.

    ``code`` is the server's error code when it gave one (``unknown_database``, ``unauthorized``, ...), else None.
    ``fatal`` says whether trying again is pointless.
    """

    def __init__(self, message: str, *, code: str | None = None, fatal: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fatal = fatal


class ConnectionLost(ClientError):
    """The connection ended before the answer came: the request may or may not have been carried out.

    A call with an idempotency key never ends like this while the connection is being restored: it is sent again.
    """


class ConnectionClosed(ClientError):
    """The connection is closed; the request was not sent."""


class BadRequest(ClientError):
    """The request cannot be sent: it is not JSON, or longer than the server's limit."""


class ProtocolViolation(ClientError):
    """The server said something the protocol does not allow. The connection is given up."""


_CLASSES: dict[type[CallFailed], tuple[str, ...]] = {
    Forbidden: ("forbidden", "unauthorized", "sql_forbidden"),
    Unknown: (
        "unknown_reducer",
        "unknown_database",
        "unknown_table",
        "unknown_column",
        "unknown_subscription",
        "unknown_type",
        "unknown_workflow",
        "unknown_signal",
        "unknown_update",
        "unknown_query",
        "unknown_command",
        "not_found",
    ),
    ConstraintFailed: ("unique_violation", "bad_value"),
    SenderMistake: (
        "bad_message",
        "message_too_large",
        "bad_arguments",
        "not_active",
        "not_awake",
        "not_started",
        "stranded",
        "wrong_status",
        "preview_required",
        "stale_preview",
        "stale_lease",
        "unsupported_query",
        "bad_sql",
        "sql_deadline",
        "sql_too_large",
        "snapshot_too_large",
        "limit_exceeded",
        "queue_saturated",
        "already_exists",
        "conflict",
        "key_reused",
        "key_spent",
        "payload_too_large",
        "sender_error",
    ),
    ServerFault: ("internal", "bad_result", "budget_exceeded", "in_doubt", "slow_consumer"),
    Unavailable: ("read_only", "overloaded", "starting", "stopping", "sql_unavailable"),
}

CLASS_OF_CODE: dict[str, type[CallFailed]] = {
    code: error_class for error_class, codes in _CLASSES.items() for code in codes
}
"""Which class each of the server's codes becomes."""


def error_from_json(body: Mapping[str, Any]) -> CallFailed:
    """The exception for a server's ``{"code", "message", ...details}``."""
    code = str(body.get("code", "internal"))
    details = {name: value for name, value in body.items() if name not in ("code", "message")}
    return CLASS_OF_CODE.get(code, CallFailed)(code, str(body.get("message", code)), details)
