"""One WebSocket connection: bytes of a socket to and from a ``Session``.

The protocol itself (handshake, frames, pings, closing) is websockets' sans-I/O core. Its asyncio layer would spend a
task and several futures per message; here a read goes straight to the session, and whatever a turn has to say to
a connection leaves in one write.
"""

from __future__ import annotations

import asyncio
import http
import logging
import re
import secrets
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import unquote

import orjson
from websockets.datastructures import Headers
from websockets.exceptions import NegotiationError, PayloadTooBig
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from reactor.access import Access, presented_token
from reactor.errors import Fault, ReactorError, SenderError
from reactor.host import Host
from reactor.server.frames import frame_text
from reactor.session import CLOSE_STOPPING, CLOSE_UNSUPPORTED, Session
from reactor.wire import native
from reactor.wire.native import PROTOCOL

_PATH = re.compile(r"/v1/database/([^/]+)/subscribe/?\Z")
_quiet = logging.getLogger("reactor.websocket")
_quiet.setLevel(logging.ERROR)


class Serving(Protocol):
    """What a connection needs to know of the server."""

    host: Host
    access: Access
    is_ready: bool
    connections: set[Connection]


def _select(protocol: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    if not offered:
        return None
    if PROTOCOL in offered:
        return Subprotocol(PROTOCOL)
    raise NegotiationError(f"no subprotocol in common; this server speaks {PROTOCOL}")


class Connection(asyncio.Protocol):
    """The protocol of one upgraded connection; uvicorn makes it when it meets an upgrade request."""

    def __init__(self, serving: Serving, server_connections: set[Any]) -> None:
        self._serving = serving
        self._server_connections = server_connections
        self._limits = serving.host.limits
        self._protocol = ServerProtocol(
            select_subprotocol=_select, max_size=self._limits.message_bytes_max, logger=_quiet
        )
        self._transport: Any = None
        self._session: Session | None = None
        self._parts: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._heard = True

    # -- asyncio -----------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        """The socket is ours."""
        self._transport = transport
        self._server_connections.add(self)
        self._serving.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        self._server_connections.discard(self)
        self._serving.connections.discard(self)
        session, self._session = self._session, None
        if session is not None:
            self._serving.host.disconnect(session)
            # What refers to itself is left to the garbage collector, which seldom looks at what has lived long.
            session.send, session.close = _unsent, _not_closed
        self._protocol.parser.close()

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        self._heard = True
        protocol = self._protocol
        protocol.receive_data(data)
        for event in protocol.events_received():
            if type(event) is Frame:
                self._frame(event)
            elif isinstance(event, Request):
                self._handshake(event)
        # A message that could not be taken is answered at once, and no turn follows that would send the answer.
        self._serving.host.flush()
        if protocol.parser_exc is not None:
            self._say_too_large(protocol.parser_exc)
        self._send_protocol()

    def _say_too_large(self, error: Exception) -> None:
        """Name the limit before the protocol closes with 1009."""
        if isinstance(error, PayloadTooBig) and self._session is not None and not self._session.is_closed:
            limit = self._limits.message_bytes_max
            refusal = SenderError("message_too_large", f"a message has at most {limit} bytes")
            self._transport.write(frame_text(native.reply_error(None, refusal)))
            self._serving.host.disconnect(self._session)

    def eof_received(self) -> None:
        """The client has closed its side."""
        self._protocol.receive_eof()
        self._send_protocol()

    def _send_protocol(self) -> None:
        """Send what the protocol itself has to say: handshake, pongs, closing."""
        for piece in self._protocol.data_to_send():
            if piece:
                self._transport.write(piece)
            else:
                self._transport.close()

    # -- in ----------------------------------------------------------------------------------

    def _frame(self, frame: Frame) -> None:
        session = self._session
        if session is None:
            return
        opcode = frame.opcode
        if opcode is Opcode.TEXT:
            if frame.fin:
                session.receive(bytes(frame.data))
            else:
                self._parts = [bytes(frame.data)]
        elif opcode is Opcode.CONT:
            self._parts.append(bytes(frame.data))
            if frame.fin:
                parts, self._parts = self._parts, []
                session.receive(b"".join(parts))
        elif opcode is Opcode.BINARY:
            session.refuse(SenderError("bad_message", f"{PROTOCOL} is text; send text frames"), CLOSE_UNSUPPORTED)
        elif opcode is Opcode.CLOSE:
            self._serving.host.disconnect(session)

    def _handshake(self, request: Request) -> None:
        try:
            token, presented = self._admit(request)
            caller = self._serving.access.caller(token, secrets.token_hex(16))
        except ReactorError as error:
            self._protocol.send_response(_refusal(error))
            return
        response = self._protocol.accept(request)
        self._protocol.send_response(response)
        if self._protocol.state is not State.OPEN:
            return
        self._send_protocol()
        self._session = Session(
            self._serving.host,
            caller,
            token=None if presented else token,
            send=self._send,
            close=self._close,
            frame=frame_text,
        )
        try:
            self._serving.host.connect(self._session)
        except ReactorError as error:
            self._session.refuse(error, CLOSE_STOPPING)

    def _admit(self, request: Request) -> tuple[str, bool]:
        """The token of a handshake and whether the client presented it; raises for a wrong path or database."""
        path, _, query = request.path.partition("?")
        found = _PATH.match(path)
        if found is None:
            raise SenderError("unknown_database", "connect to /v1/database/{name}/subscribe")
        name = unquote(found[1])
        if name != self._serving.host.database:
            raise SenderError(
                "unknown_database", f"there is no database {name!r}; this is {self._serving.host.database!r}"
            )
        if not self._serving.is_ready:
            raise Fault("starting", "the reactor is still starting; try again in a moment")
        token = presented_token(request.headers.get("Authorization"), query)
        return (token, True) if token is not None else (secrets.token_hex(32), False)

    # -- out ---------------------------------------------------------------------------------

    def _send(self, framed: bytes) -> int:
        if self._protocol.state is not State.OPEN:
            return 0
        self._transport.write(framed)
        unread: int = self._transport.get_write_buffer_size()
        return unread

    def _close(self, code: int, reason: str) -> None:
        """Begin to close; a client that does not answer is cut after ``goodbye_s``."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason[:120])
            self._send_protocol()
            self._loop.call_later(self._limits.goodbye_s, self._transport.abort)

    def shutdown(self) -> None:
        """The server stops; uvicorn asks every connection to end."""
        if self._session is not None:
            self._session.refuse(Fault("stopping", "the reactor is stopping"), CLOSE_STOPPING)
        elif self._transport is not None:
            self._transport.abort()

    def keep_alive(self) -> None:
        """Called every so often: ping a client, and cut one that has been silent since the last ping."""
        if self._protocol.state is not State.OPEN:
            return
        if not self._heard:
            self._transport.abort()
            return
        self._heard = False
        self._protocol.send_ping(b"")
        self._send_protocol()


def _unsent(framed: bytes) -> int:
    return 0


def _not_closed(code: int, reason: str) -> None:
    pass


def _refusal(error: ReactorError) -> Response:
    body = orjson.dumps({"error": error.to_json()})
    status = http.HTTPStatus(error.http_status)
    headers = Headers()
    headers["Content-Type"] = "application/json"
    headers["Content-Length"] = str(len(body))
    headers["Connection"] = "close"
    return Response(status.value, status.phrase, headers, body)
