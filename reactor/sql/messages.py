"""What is asked of the SQL surface, what it answers, and the frames between reactor and reader process.

A frame is four bytes of length (big-endian) and that many bytes of msgpack. An answer's frame is followed by
``content_bytes`` raw bytes: a large result is never packed, so passing it on costs a copy and no encoding.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

import msgspec

from reactor.errors import Fault, ReactorError, SenderError, invariant
from reactor.limits import DEFAULT_LIMITS, Limits

Params = list[Any] | dict[str, Any]

LENGTH = struct.Struct(">I")


class SqlCaps(msgspec.Struct, frozen=True):
    """How much one query may take: seconds, rows, bytes of the encoded result, characters of SQL."""

    deadline_s: float
    rows: int
    result_bytes: int
    sql_chars: int

    @classmethod
    def of(cls, limits: Limits) -> SqlCaps:
        """The caps that the reactor's limits name."""
        return cls(
            deadline_s=limits.sql_deadline_s,
            rows=limits.sql_rows_max,
            result_bytes=limits.sql_result_bytes_max,
            sql_chars=limits.sql_chars_max,
        )


DEFAULT_CAPS = SqlCaps.of(DEFAULT_LIMITS)


class SqlRequest(msgspec.Struct, frozen=True, tag="sql"):
    """One statement to run.

    ``params`` are JSON scalars, a list for ``?`` and a dict for ``:name``. ``owner`` opens the private
    tables and the schema tables. ``format`` is a key of ``formats.FORMATS``.
    """

    sql: str
    params: Params = msgspec.field(default_factory=list)
    owner: bool = False
    format: str = "json"
    caps: SqlCaps = DEFAULT_CAPS


class Statement(msgspec.Struct, frozen=True):
    """One statement of a report, written by a module and not by a client: no fence, the same deadline.

    With ``most``: if the first value it finds is larger, the report ends with the error ``refusal`` (its JSON form),
    and the statements after it do not run.
    """

    sql: str
    params: list[Any] = msgspec.field(default_factory=list)
    most: int | None = None
    refusal: dict[str, Any] = msgspec.field(default_factory=dict)


class ReportRequest(msgspec.Struct, frozen=True, tag="report"):
    """The statements of a report, to be run over one state of the tables. The result is msgpack: their rows."""

    statements: tuple[Statement, ...]
    caps: SqlCaps = DEFAULT_CAPS


class SqlResult(msgspec.Struct, frozen=True):
    """An encoded result: whole, never cut short. ``elapsed_us`` is what SQLite and the fetching took."""

    content: bytes
    content_type: str
    rows: int
    elapsed_us: int


class SqlTables(msgspec.Struct, frozen=True):
    """What may be read: names of the public and private tables, and ``(name, SELECT)`` of extra views.

    A view is made on the reading connection only. Whoever is not the owner may read it as far as every
    table beneath it is public.
    """

    public: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    views: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        names = [*self.public, *self.private, *(name for name, _ in self.views)]
        invariant(len({n.lower() for n in names}) == len(names), "tables and views have names of their own")


class ReaderSetup(msgspec.Struct, frozen=True):
    """The first frame to the reader process. ``path`` is the projection file."""

    path: str
    tables: SqlTables
    memory_bytes: int


class Asked(msgspec.Struct, frozen=True):
    """A request on its way; ``number`` comes back with the answer."""

    number: int
    request: SqlRequest | ReportRequest


class Answered(msgspec.Struct, frozen=True):
    """The head of an answer: of a result (``code`` empty) or of an error (``content_bytes`` 0)."""

    number: int
    content_bytes: int = 0
    content_type: str = ""
    rows: int = 0
    elapsed_us: int = 0
    code: str = ""
    message: str = ""
    details: dict[str, Any] = msgspec.field(default_factory=dict)

    def error(self) -> ReactorError:
        """The error that the head carries."""
        found = ReactorError(self.code, self.message)
        kind = SenderError if found.http_status < 500 else Fault
        return kind(self.code, self.message, **self.details)


def frame(message: msgspec.Struct) -> bytes:
    """The message with its length in front."""
    body = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(body)) + body


def receive(sock: socket.socket) -> bytes | None:
    """The body of the next frame of a blocking socket; None when the other side has closed."""
    head = _receive_exactly(sock, LENGTH.size)
    return None if head is None else _receive_exactly(sock, LENGTH.unpack(head)[0])


def _receive_exactly(sock: socket.socket, count: int) -> bytes | None:
    body = bytearray()
    while len(body) < count:
        piece = sock.recv(count - len(body))
        if not piece:
            return None
        body += piece
    return bytes(body)
