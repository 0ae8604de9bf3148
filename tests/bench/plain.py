"""What one would write without a reactor: the `websockets` asyncio server, and SQLite where something must last.

``python -m tests.bench.plain MODE DIRECTORY`` tells its port as JSON. The modes:

``bank``       each message is a transfer, run as one SQLite transaction that is synced before the answer
``broadcast``  each message ``{"call": "poke_one" | "poke_ten"}`` is sent to all connections with
               ``websockets.broadcast`` as the commit frame that the reactor would send, and answered
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

from tests.bench.load import on_loop
from tests.bench.modules.bank import ACCOUNTS, OPENING_BALANCE
from tests.bench.modules.crowd import ROWS, row_values
from tests.bench.serve import tell

Handler = Callable[[ServerConnection], Awaitable[None]]

PATH = "/v1/database/bank/subscribe"


def synced_database(path: Path) -> sqlite3.Connection:
    """A SQLite file in WAL mode whose commits are synced."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    return database


def bank(directory: Path) -> Handler:
    """Accounts in SQLite, one commit a call."""
    database = synced_database(directory / "plain.db")
    database.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER)")
    database.execute("BEGIN")
    database.executemany("INSERT INTO account VALUES (?, ?)", ((n, OPENING_BALANCE) for n in range(ACCOUNTS)))
    database.execute("COMMIT")

    def transfer(source: int, target: int, amount: int) -> bytes:
        database.execute("BEGIN IMMEDIATE")
        found = database.execute("SELECT balance FROM account WHERE id = ?", (source,)).fetchone()
        if found is None or found[0] < amount:
            database.execute("ROLLBACK")
            return b'"error":{"code":"sender_error"}'
        database.execute("UPDATE account SET balance = balance - ? WHERE id = ?", (amount, source))
        database.execute("UPDATE account SET balance = balance + ? WHERE id = ?", (amount, target))
        database.execute("COMMIT")
        return b'"ok":null'

    async def handle(connection: ServerConnection) -> None:
        async for message in connection:
            asked = orjson.loads(message)
            await connection.send(b'{"id":%d,%b}' % (asked["id"], transfer(*asked["args"])), text=True)

    return handle


def broadcaster(directory: Path) -> Handler:
    """Sends to all what the reactor's subscribers of the same rows would get."""
    everyone: set[ServerConnection] = set()
    seq = 0

    def frame(rows: int) -> str:
        nonlocal seq
        seq += 1
        update = [[n, row_values(n, seq)] for n in range(1, rows + 1)]
        delta = {"query": 1, "table": "hot", "update": update}
        return orjson.dumps({"seq": seq, "at": 1_700_000_000_000_000 + seq, "deltas": [delta]}).decode()

    async def handle(connection: ServerConnection) -> None:
        everyone.add(connection)
        try:
            async for message in connection:
                # Only the one who asks is not a reader.
                everyone.discard(connection)
                asked = orjson.loads(message)
                broadcast(everyone, frame(1 if asked["call"] == "poke_one" else ROWS))
                await connection.send(b'{"id":%d,"ok":null,"seq":%d}' % (asked["id"], seq), text=True)
        finally:
            everyone.discard(connection)

    return handle


async def _main(mode: str, directory: Path) -> None:
    talk = {"bank": bank, "broadcast": broadcaster}[mode](directory)

    async def handler(connection: ServerConnection) -> None:
        # The clients of a benchmark leave without a word.
        with contextlib.suppress(ConnectionClosed):
            await talk(connection)

    # Without compression, which would only slow it down, and without pings, which the readers do not answer.
    async with serve(handler, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        tell(port=next(iter(server.sockets)).getsockname()[1], path=PATH)
        await server.serve_forever()


if __name__ == "__main__":
    on_loop(lambda: _main(sys.argv[1], Path(sys.argv[2])))
