"""The baseline of the server stack: the same connection class and framing, but a message is answered by a text of the
size of our own answers, without looking at it. Run as ``python -m tests.bench.echo``; tells its port as JSON."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import uvicorn
import uvloop

from reactor.access import Access
from reactor.limits import DEFAULT_LIMITS
from reactor.server.frames import frame_text
from reactor.server.websocket import Connection
from reactor.session import Session
from tests.bench.serve import tell

ANSWER = b'{"id":12345,"ok":null,"seq":1234567}'


class EchoHost:
    """Stands where the host stands: lets everyone in, answers everything, writes once per read."""

    limits = DEFAULT_LIMITS
    database = "bank"

    def __init__(self) -> None:
        self._dirty: list[Session] = []

    def connect(self, session: Session) -> None:
        """Answer whatever comes."""
        session.is_open = True

        def receive(data: bytes | str) -> None:
            session.push(frame_text(ANSWER))

        session.receive = receive  # type: ignore[method-assign]

    def submit(self, request: Any) -> None:
        """Nothing is ever asked."""

    def disconnect(self, session: Session) -> None:
        """Nobody is told."""
        session.is_closed = True

    def flush_later(self, session: Any) -> None:
        """Remember who has something to send."""
        self._dirty.append(session)

    def flush(self) -> None:
        """Called by a connection when it has taken what it read: one write for all its answers."""
        dirty, self._dirty = self._dirty, []
        for session in dirty:
            out, session.outgoing = session.outgoing, []
            session.send(b"".join(out))


async def serve(announce: Callable[[int], None]) -> None:
    """Serve until the process is ended."""
    serving: Any = SimpleNamespace(host=EchoHost(), access=Access("o" * 64), is_ready=True, connections=set())

    def connection(config: Any, server_state: Any, app_state: Any) -> Connection:
        return Connection(serving, server_state.connections)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("only WebSocket here")

    listening = socket.create_server(("127.0.0.1", 0))
    announce(listening.getsockname()[1])
    config = uvicorn.Config(
        app,
        ws=connection,  # type: ignore[arg-type]
        http="httptools",
        lifespan="off",
        log_level=logging.WARNING,
        log_config=None,
    )
    await uvicorn.Server(config).serve(sockets=[listening])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(lambda port: tell(port=port, path="/v1/database/bank/subscribe")))
