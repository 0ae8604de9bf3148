"""The native JSON protocol as values: requests to text, frames to typed events. ``docs/protocol.md`` tells it in prose.

Nothing here remembers anything; ``core.py`` does.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import orjson

from client.errors import BadRequest, CallFailed, ClientError, ProtocolViolation, error_from_json
from client.mirror import Applied

SUBPROTOCOL = "v1.json.reactor"

VERBS = ("call", "batch", "subscribe", "unsubscribe", "sql", "time")
"""What a client can ask for; exactly one of them stands in each of its messages."""

CLOSE_CODES: dict[int, str] = {
    1000: "normal",
    1001: "server stopping",
    1003: "binary frame",
    1008: "refused",
    1009: "message too large",
    1013: "slow consumer, try again later",
}
"""The WebSocket close codes the server uses."""

FINAL_CLOSE_CODES = frozenset({1002, 1003, 1007, 1008})
"""After these, connecting again would end the same way."""

GOODBYE_CODES = ("slow_consumer", "stopping", "message_too_large", "limit_exceeded")
"""Error codes which, without an ``id``, announce that the server is about to close the connection."""

Arguments: TypeAlias = Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Hello:
    """The greeting, first message of a connection. ``time_us``: the server's wall clock, UTC microseconds."""

    database: str
    identity: str
    token: str | None
    connection_id: str
    history_id: str
    seq: int
    durability: str
    time_us: int
    limits: Mapping[str, int]
    restoring: bool = False
    """True on a reconnect with subscriptions: a ``Restored`` follows when the mirror is whole again."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request. ``seq``: the number of the commit it reflects."""

    id: int
    value: Any
    seq: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that failed: refused by the server, or in doubt because the connection was lost."""

    id: int
    error: ClientError


@dataclass(frozen=True, slots=True)
class SetApplied:
    """A subscription set became active; its rows are in the mirror. ``set_id`` is the request's id."""

    set_id: int
    seq: int
    applied: Applied


@dataclass(frozen=True, slots=True)
class SetClosed:
    """A set has ended and its rows left the mirror: ``id`` of the unsubscribe, or None if the server dropped it."""

    set_id: int
    id: int | None
    error: ClientError | None
    applied: Applied


@dataclass(frozen=True, slots=True)
class CommitApplied:
    """One commit is in the mirror, whole. ``at_us``: when it was made, UTC microseconds."""

    seq: int
    at_us: int
    applied: Applied


@dataclass(frozen=True, slots=True)
class Restored:
    """After a reconnect the mirror is what the server has at ``seq``; ``applied`` is all that had changed meanwhile.

    ``resumed``: the server sent differences only, no set had to be sent whole.
    """

    seq: int
    resumed: bool
    applied: Applied


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The server is about to close the connection and says why."""

    error: CallFailed


@dataclass(frozen=True, slots=True)
class Complaint:
    """The server could not read a message and does not know which; the connection stays open."""

    error: CallFailed


Event: TypeAlias = Hello | Reply | Failure | SetApplied | SetClosed | CommitApplied | Restored | Goodbye | Complaint


@dataclass(frozen=True, slots=True)
class RawDelta:
    """What one query sees of one commit, as it stands in the frame."""

    query: int
    insert: Sequence[Sequence[Any]] = ()
    update: Sequence[Sequence[Any]] = ()
    delete: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class RawCommit:
    """A commit frame."""

    seq: int
    at_us: int
    deltas: list[RawDelta]


@dataclass(frozen=True, slots=True)
class RawQuery:
    """One query of a subscribe reply: ``rows`` whole, or ``upsert`` and ``delete`` since the point of resume."""

    query: int
    table: str
    columns: Sequence[str]
    key: str
    resumed: bool
    rows: Sequence[Sequence[Any]]
    delete: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """A message with an ``id``: a value, or an error."""

    id: int
    seq: int
    value: Any = None
    error: CallFailed | None = None


@dataclass(frozen=True, slots=True)
class SqlResult:
    """The answer to an ``sql`` request. ``seq``: everything committed up to it was visible."""

    columns: list[str]
    rows: list[list[Any]] = field(repr=False)
    elapsed_us: int
    seq: int

    def dicts(self) -> list[dict[str, Any]]:
        """The rows as dicts, column name to value."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def decode(frame: str | bytes) -> Hello | RawCommit | RawAnswer | CallFailed:
    """One message of the server. A ``CallFailed`` is an error without ``id``. Raises ``ProtocolViolation``."""
    try:
        message = orjson.loads(frame)
        if "deltas" in message:
            deltas = [_delta(delta) for delta in message["deltas"]]
            return RawCommit(message["seq"], message["at"], deltas)
        if "id" in message:
            error = error_from_json(message["error"]) if "error" in message else None
            return RawAnswer(message["id"], message.get("seq", 0), message.get("ok"), error)
        if "hello" in message:
            return _hello(message["hello"])
        return error_from_json(message["error"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProtocolViolation(f"the server sent a message that cannot be read: {frame[:200]!r}") from error


def decode_set(value: Any) -> tuple[int, list[RawQuery]]:
    """The set number and the queries of a subscribe reply. Raises ``ProtocolViolation``."""
    try:
        return value["set"], [_query(query) for query in value["queries"]]
    except (KeyError, TypeError) as error:
        raise ProtocolViolation("a subscribe reply lacks its set or queries") from error


def encode(message: Mapping[str, Any]) -> bytes:
    """A request as UTF-8 JSON. Raises ``BadRequest`` for values JSON has no form for.

    Bytes become base64 text, instants and durations integer microseconds, integers past 64 bits decimal text.
    """
    try:
        return orjson.dumps(message, default=_json_form, option=orjson.OPT_PASSTHROUGH_DATETIME)
    except TypeError:
        # orjson never asks `default` about an integer that is too wide, so those are looked for only now.
        try:
            widened = _with_wide_integers_as_text(message)
            return orjson.dumps(widened, default=_json_form, option=orjson.OPT_PASSTHROUGH_DATETIME)
        except TypeError as error:
            raise BadRequest(f"an argument cannot be sent as JSON: {error}") from error


def sql_result(value: Any, seq: int) -> SqlResult:
    """The ``ok`` of an ``sql`` reply. Raises ``ProtocolViolation``."""
    try:
        return SqlResult(value["columns"], value["rows"], value["elapsed_us"], seq)
    except (KeyError, TypeError) as error:
        raise ProtocolViolation("an sql reply lacks its columns or rows") from error


def _hello(body: Mapping[str, Any]) -> Hello:
    return Hello(
        database=body["database"],
        identity=body["identity"],
        token=body["token"],
        connection_id=body["connection_id"],
        history_id=body["history_id"],
        seq=body["seq"],
        durability=body["durability"],
        time_us=body["time_us"],
        limits=body["limits"],
    )


def _delta(body: Mapping[str, Any]) -> RawDelta:
    return RawDelta(body["query"], body.get("insert", ()), body.get("update", ()), body.get("delete", ()))


def _query(body: Mapping[str, Any]) -> RawQuery:
    resumed = body.get("resumed", False)
    rows = body.get("upsert", ()) if resumed else body["rows"]
    deleted = body.get("delete", ()) if resumed else ()
    return RawQuery(body["query"], body["table"], body["columns"], body["key"], resumed, rows, deleted)


def _json_form(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise TypeError("a datetime without a time zone does not name an instant")
        return (value - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1)
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _with_wide_integers_as_text(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return str(value)
    if isinstance(value, Mapping):
        return {key: _with_wide_integers_as_text(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_wide_integers_as_text(item) for item in value]
    return value
