"""What tests of the client's faces need of a network: waits without sleeping, scripted servers, lost connections."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from client import Row, aio, blocking
from tests.client.modelserver import ModelServer, ModelSession

WITHIN_S = 30.0


class Until:
    """Waits for a condition over what callbacks tell, without sleeping."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def __call__(self, *_: object) -> None:
        self._changed.set()

    async def holds(self, condition: Callable[[], bool]) -> None:
        """Return once it holds; fails after a while."""
        async with asyncio.timeout(WITHIN_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


def until_commit(c: aio.Connection) -> Until:
    """An ``Until`` that looks again after each commit and each change of state."""
    until = Until()
    c.on_commit(until)
    c.on_state(until)
    return until


class Relay:
    """A TCP relay whose connections can be cut without a word."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._pipes: list[asyncio.StreamWriter] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry the bytes of one connection both ways."""
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._pipes += [writer, far_writer]
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    def cut(self) -> None:
        """Break every connection, losing what is under way."""
        for writer in self._pipes:
            writer.transport.abort()
        self._pipes.clear()


@asynccontextmanager
async def relay(port: int) -> AsyncIterator[Relay]:
    """A relay in front of a port."""
    relayed = Relay(port)
    listening = await asyncio.start_server(relayed.serve, "127.0.0.1", 0)
    relayed.port = listening.sockets[0].getsockname()[1]
    try:
        yield relayed
    finally:
        relayed.cut()
        listening.close()


class Shadow:
    """Rows by id as callbacks alone tell; a row delivered twice as new fails at once."""

    def __init__(self, c: aio.Connection | blocking.Connection, table: str) -> None:
        self.rows: dict[Any, Row] = {}
        self.faults: list[str] = []
        c.table(table).on_insert(self.inserted)
        c.table(table).on_update(self.updated)
        c.table(table).on_delete(self.deleted)

    def inserted(self, row: Row) -> None:
        """A row that must not be there yet."""
        if row.id in self.rows:
            self.faults.append(f"{row} came twice")
        self.rows[row.id] = row

    def updated(self, old: Row, new: Row) -> None:
        """A row that must be there as it was."""
        if self.rows.get(new.id) != old or old == new:
            self.faults.append(f"{old} -> {new}, but there was {self.rows.get(new.id)}")
        self.rows[new.id] = new

    def deleted(self, old: Row) -> None:
        """A row that must be there."""
        if self.rows.pop(old.id, None) != old:
            self.faults.append(f"{old} left, but it was not there")


def mirrored(c: aio.Connection | blocking.Connection) -> list[tuple[Any, ...]]:
    """The items the mirror holds, by id."""
    return sorted(tuple(row) for row in c.table("item"))


def serve_model(socket: ServerConnection, session: ModelSession) -> None:
    """Answer as the model does, until the client goes."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            send_all(socket, session)
            session.receive(socket.recv(decode=False))


def send_all(socket: ServerConnection, session: ModelSession) -> None:
    """Send what the session has to say."""
    while session.out:
        socket.send(session.out.pop(0))


Script = Callable[[ServerConnection, ModelSession], None]


class Scripted:
    """A server on the loopback whose first connection runs the first script, and so on; the last one repeats."""

    def __init__(self, scripts: list[Script]) -> None:
        self.model = ModelServer()
        self.tokens: list[str | None] = []
        self.url = ""
        self._scripts = scripts
        self._lock = threading.Lock()

    def handle(self, socket: ServerConnection) -> None:
        """One connection, on a thread of its own."""
        with self._lock:
            script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
            session = self.model.connect()
            request = socket.request
            self.tokens.append(request.headers.get("Authorization") if request else None)
        script(socket, session)
        self.model.sessions.remove(session)


@contextmanager
def scripted(*scripts: Script) -> Iterator[Scripted]:
    """A running ``Scripted``."""
    fake = Scripted(list(scripts))
    with serve(fake.handle, "127.0.0.1", 0, compression=None) as server:
        fake.url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join(WITHIN_S)
