"""What travels between the reactor and its writer: length-prefixed msgpack arrays on a socket pair.

Four bytes of length, little-endian, then ``[kind, ...]``. Both ends are this program, started together, so
there is no version to agree on.
"""

from __future__ import annotations

import enum
import signal
import struct
from collections.abc import Iterator
from typing import Any

import msgspec

IGNORED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that a writer ignores, and that are held back from it until it does."""

_LENGTH = struct.Struct("<I")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Any]).decode


class ToWriter(enum.IntEnum):
    """What the reactor sends; the arguments are those of the ``Storage`` method of that name."""

    GROUP = 0
    RESET = 1
    PROJECT = 2
    ALIVE = 3
    TRIM = 4
    CLOSE = 5


class FromWriter(enum.IntEnum):
    """What the writer sends; the arguments are those of the ``StorageEvents`` method of that name."""

    DURABLE = 0
    FAILED = 1
    RECOVERED = 2
    PROJECTED = 3
    LOST = 4
    CLOSED = 5


def frame(kind: int, *arguments: Any) -> bytes:
    """One message as it is sent."""
    body = _encode((kind, *arguments))
    return _LENGTH.pack(len(body)) + body


class Splitter:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[list[Any]]:
        """The messages that are complete with ``data``."""
        self._rest += data
        view, start = memoryview(self._rest), 0
        messages = []
        while len(view) - start >= _LENGTH.size:
            end = start + _LENGTH.size + _LENGTH.unpack_from(view, start)[0]
            if end > len(view):
                break
            messages.append(_decode(view[start + _LENGTH.size : end]))
            start = end
        view.release()
        if start:
            del self._rest[:start]
        return iter(messages)
