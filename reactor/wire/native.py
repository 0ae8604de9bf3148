"""The native JSON protocol, ``v1.json.reactor``: messages to values and back. See ``docs/protocol.md``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import orjson

from reactor.errors import ReactorError, SenderError
from reactor.schema import TableSchema
from reactor.table import Table

PROTOCOL = "v1.json.reactor"

_ID_CHARS_MAX = 128


class CallSpec(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One call of a batch."""

    call: str
    args: msgspec.Raw = msgspec.Raw(b"")


class ResumeSpec(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Where a reconnecting client stopped."""

    history_id: str
    seq: int


class CallMessage(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The commonest message: one call."""

    id: int | str
    call: str
    args: msgspec.Raw = msgspec.Raw(b"")
    key: str | None = None


class Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One message of a client: an id and exactly one verb with its options."""

    id: int | str
    call: str | None = None
    args: msgspec.Raw = msgspec.Raw(b"")
    key: str | None = None
    batch: list[CallSpec] | None = None
    subscribe: list[str] | str | None = None
    resume: ResumeSpec | None = None
    unsubscribe: int | None = None
    sql: str | None = None
    params: list[Any] | dict[str, Any] | None = None
    time: msgspec.Raw = msgspec.Raw(b"")


VERBS = ("call", "batch", "subscribe", "unsubscribe", "sql", "time")
_OPTIONS = {"args": ("call",), "key": ("call", "batch"), "resume": ("subscribe",), "params": ("sql",)}

_decode = msgspec.json.Decoder(Message).decode
_decode_call = msgspec.json.Decoder(CallMessage).decode
_encode = msgspec.json.Encoder().encode


def decode(data: bytes | str) -> CallMessage | Message:
    """A message from the text of one frame; ``SenderError`` ``bad_message`` says what is wrong with it."""
    try:
        return _decode_call(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_any(data)


def id_bytes(request_id: int | str) -> bytes:
    """A request's id as JSON; ``SenderError`` ``bad_message`` if it is too long to be carried around."""
    if type(request_id) is int:
        return b"%d" % request_id
    if len(str(request_id)) > _ID_CHARS_MAX:
        raise SenderError("bad_message", f"`id` is an integer, or a text of at most {_ID_CHARS_MAX} characters")
    return orjson.dumps(request_id)


def _decode_any(data: bytes | str) -> Message:
    try:
        return _decode(data)
    except msgspec.ValidationError as error:
        raise SenderError(
            "bad_message", f"{error}; a message is an object with `id` and one of {', '.join(VERBS)}"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SenderError("bad_message", f"this is not JSON: {error}") from None


def verb_of(message: Message) -> str:
    """The message's one verb; ``SenderError`` ``bad_message`` if there is none or more than one."""
    found = [verb for verb in VERBS[:-1] if getattr(message, verb) is not None]
    if bytes(message.time):
        found.append("time")
    if len(found) != 1:
        given = " and ".join(found) if found else "none"
        raise SenderError("bad_message", f"a message has exactly one of {', '.join(VERBS)}; this one has {given}")
    for option, verbs in _OPTIONS.items():
        if found[0] not in verbs and getattr(message, option):
            raise SenderError("bad_message", f"`{option}` belongs to {' or '.join(verbs)}, not to {found[0]}")
    return found[0]


def id_hint(data: bytes | str) -> bytes | None:
    """The id of a message that could not be decoded, when it can still be seen, so that the error can carry it."""
    try:
        loaded = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    found = loaded.get("id") if isinstance(loaded, dict) else None
    if isinstance(found, bool) or not isinstance(found, int | str):
        return None
    return id_bytes(found) if isinstance(found, int) or len(found) <= _ID_CHARS_MAX else None


def reply_error(request_id: bytes | None, error: ReactorError) -> bytes:
    """A refusal; without an id it is about the connection itself."""
    body = orjson.dumps(error.to_json(), default=str)
    return b'{"error":%b}' % body if request_id is None else b'{"id":%b,"error":%b}' % (request_id, body)


def delta_part(query: int, table: Table[Any], delta: Any) -> bytes:
    """One query's part of a commit frame."""
    part: dict[str, Any] = {"query": query, "table": table.name}
    if delta.inserts:
        part["insert"] = [table.log_row(row) for row in delta.inserts]
    if delta.updates:
        part["update"] = [(table.log_key(key), table.log_row(row)) for key, row in delta.updates]
    if delta.deletes:
        part["delete"] = [table.log_key(key) for key in delta.deletes]
    return _encode(part)


def commit_frame(seq: int, at: int, parts: Iterable[bytes]) -> bytes:
    """What one connection sees of one commit."""
    return b'{"seq":%d,"at":%d,"deltas":[%b]}' % (seq, at, b",".join(parts))


def query_part(query: int, sql: str, schema: TableSchema, content: dict[str, Any]) -> dict[str, Any]:
    """A query in the answer to `subscribe`; ``content`` is its snapshot, or the difference that resumes it."""
    return {
        "query": query,
        "sql": sql,
        "table": schema.name,
        "columns": list(schema.column_names),
        "key": schema.primary_key,
        **content,
    }


def rows_for_wire(table: Table[Any], rows: Sequence[Any]) -> list[Any]:
    """Rows in the form the encoder takes."""
    return [table.log_row(row) for row in rows]


def encode(value: Any) -> bytes:
    """Any value built from the forms above as JSON bytes."""
    return _encode(value)
