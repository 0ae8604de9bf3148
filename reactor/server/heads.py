"""The beginning of HTTP requests, bounded: uvicorn's parser takes heads of any length and waits for them for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES_MAX = 64 << 10
"""Request line and headers together."""

HEAD_S = 20.0
"""How long a client may take to send them."""


class HttpConnection(HttpToolsProtocol):
    """uvicorn's HTTP protocol that ends a connection whose next request does not come in time or in size."""

    _head_bytes = 0
    _in_head = True
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """The first head is due."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what has come for a head that is not complete."""
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
                self.send_400_response(f"a request begins with at most {HEAD_BYTES_MAX} bytes of headers")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        if not self._in_head:
            self._await_head()

    def on_headers_complete(self) -> None:
        """Its head is there."""
        self._end_head()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse in the form of all our errors, and close."""
        body = orjson.dumps({"error": {"code": "bad_message", "message": msg}})
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
        self.transport.close()

    def _await_head(self) -> None:
        self._in_head, self._head_bytes = True, 0
        if self._patience is None:
            self._patience = asyncio.get_running_loop().call_later(HEAD_S, self._too_late)

    def _end_head(self) -> None:
        self._in_head = False
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _too_late(self) -> None:
        self._patience = None
        if self._in_head and not self.transport.is_closing():
            self.transport.close()
