"""The client against a real ``reactor run``: both faces, lost connections, killed servers."""

from __future__ import annotations

import asyncio
import inspect
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from client import (
    Backoff,
    CallFailed,
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    ConstraintFailed,
    Forbidden,
    Row,
    SenderMistake,
    State,
    StateChange,
    aio,
    blocking,
)
from tests.wire.serving import PLAYGROUND, Server

WITHIN_S = 30.0
QUICK = Backoff(first_s=0.01, cap_s=0.05)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests that leave it as it is."""
    with Server(PLAYGROUND, tmp_path_factory.mktemp("client") / "data") as running:
        yield running


def run(script: Coroutine[Any, Any, None]) -> None:
    """Run a script on an event loop, bounded."""

    async def bounded() -> None:
        async with asyncio.timeout(2 * WITHIN_S):
            await script

    asyncio.run(bounded())


def connect(server: Server, **options: Any) -> aio.Connection:
    """The asyncio face to that server."""
    return aio.connect(server.url, server.database, backoff=QUICK, **options)


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
async def relay(server: Server) -> AsyncIterator[Relay]:
    """A relay in front of a server."""
    relayed = Relay(server.port)
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


def table_rows(server: Server, where: str = "") -> list[tuple[Any, ...]]:
    """What the table really holds, asked over another door."""
    return [tuple(row) for row in server.rows(f"SELECT * FROM item {where} ORDER BY id")]


def mirrored(c: aio.Connection | blocking.Connection) -> list[tuple[Any, ...]]:
    """What the mirror holds."""
    return sorted(tuple(row) for row in c.table("item"))


# -- doors ---------------------------------------------------------------------------------------


def test_unknown_database_is_refused_by_name(server: Server) -> None:
    """A20: the wrong database name is a named error, at once, on both faces."""
    with pytest.raises(ConnectFailed) as refused:
        blocking.connect(server.url, "nowhere", retry_first=True).open()
    assert refused.value.code == "unknown_database"
    assert refused.value.fatal

    async def script() -> None:
        with pytest.raises(ConnectFailed) as refused:
            await aio.connect(server.url, "nowhere", retry_first=True).open()
        assert refused.value.code == "unknown_database"

    run(script())


def test_nobody_there() -> None:
    """A port nobody listens on is a ``ConnectFailed`` that says so, and trying again would make sense."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ConnectFailed, match="cannot be reached") as failed:
            blocking.connect(url, "arena").open()
    assert not failed.value.fatal


def test_token_keeps_the_identity(server: Server) -> None:
    """The token of an anonymous greeting, presented again, is the same caller."""
    with blocking.connect(server.url, server.database) as first:
        assert first.call("who_am_i") == first.identity
    with blocking.connect(server.url, server.database, first.token) as second:
        assert second.identity == first.identity
        assert second.token == first.token


def test_a_module_can_refuse_a_connection(server: Server) -> None:
    """A refused connection ends for good with the module's error, instead of being tried for ever."""
    with blocking.connect(server.url, server.database) as banned:
        identity, token = banned.identity, banned.token
    with blocking.connect(server.url, server.database, server.owner_token) as owner:
        owner.call("hide", f"ban {identity}")
    with pytest.raises(ConnectFailed) as refused:
        blocking.connect(server.url, server.database, token, retry_first=True).open()
    assert refused.value.code == "forbidden"


# -- the same script on both faces ---------------------------------------------------------------


async def maybe(value: Any) -> Any:
    """Await what is awaitable: lets one script run on both faces."""
    return await value if inspect.isawaitable(value) else value


async def parity_script(c: Any, told: list[Any]) -> None:
    """Everything the API offers, with what is observed noted in ``told``."""
    zone = ["SELECT * FROM item WHERE zone = 7", "SELECT * FROM item WHERE name = 'bow'"]
    live = await maybe(
        c.subscribe(
            zone,
            on_insert=lambda row: told.append(("+", row.name)),
            on_update=lambda old, new: told.append(("~", old.zone, new.zone)),
            on_delete=lambda old: told.append(("-", old.name)),
        )
    )
    c.on_commit(lambda commit: told.append(("commit", len(commit.changes))))
    first = await maybe(c.call("add", "axe", 7))
    bow = await maybe(c.call_by_name("add", {"name": "bow", "zone": 2, "text": b"bytes"}))
    told.append(bow - first)
    added = await maybe(c.batch([("add", ["cap", 7]), ("add", {"name": "dye", "zone": 7})]))
    told.append([item - first for item in added])
    await maybe(c.call("set_zone", bow, 7))
    await maybe(c.call("set_zone", first, 1))
    told.append(await maybe(c.call("add", "elf", 7, key="k1")) == await maybe(c.call("add", "elf", 7, key="k1")))
    for reducer, args in (("add", ["axe"]), ("add", []), ("nothing", []), ("refuse_late", []), ("set_zone", [0, 1])):
        try:
            await maybe(c.call(reducer, *args))
        except CallFailed as error:
            told.append((type(error).__name__, error.code, sorted(error.details)))
    try:
        await maybe(c.batch([("add", ["fig"]), ("add", ["axe"])]))
    except ConstraintFailed as error:
        told.append((error.code, error.details["index"]))
    result = await maybe(c.sql("SELECT name, zone FROM item WHERE zone = :zone ORDER BY name", {"zone": 7}))
    told.append((result.columns, result.rows, result.dicts()[0]))
    told.append([row.name for row in live.rows])
    await maybe(live.unsubscribe())
    told.append((live.is_active, live.rows, len(c.table("item"))))
    for name in ("axe", "bow", "cap", "dye", "elf"):
        item = (await maybe(c.sql("SELECT id FROM item WHERE name = ?", [name]))).rows[0][0]
        await maybe(c.call("remove", item))


def test_both_faces_do_the_same(tmp_path: Path) -> None:
    """A26: one script on the asyncio and on the blocking face: same answers, same callbacks, same tables."""
    asynchronous: list[Any] = []
    plain: list[Any] = []
    tables = []

    async def script(server: Server) -> None:
        async with connect(server) as c:
            await parity_script(c, asynchronous)

    for name in ("a", "b"):
        with Server(PLAYGROUND, tmp_path / name) as server:
            if name == "a":
                run(script(server))
            else:
                with blocking.connect(server.url, server.database) as c, pytest.raises(StopIteration):
                    # Nothing in it ever waits for a loop, so one step runs it to its end.
                    parity_script(c, plain).send(None)
            tables.append(server.rows("SELECT * FROM item"))
    assert asynchronous == plain
    assert tables[0] == tables[1]
    assert asynchronous.count(("+", "elf")) == 1
    assert ("~", 2, 7) in asynchronous
    assert ("-", "axe") in asynchronous


# -- subscriptions -------------------------------------------------------------------------------


def test_subscription_brings_rows_then_deltas(server: Server) -> None:
    """A21, A22: first exactly the matching rows, then inserts, updates with old and new row, and deletes."""

    async def script() -> None:
        async with connect(server) as c:
            kept = await c.call("add", "first", 42)
            await c.call("add", "elsewhere", 43)
            told: list[tuple[Any, ...]] = []
            live = await c.subscribe("SELECT * FROM item WHERE zone = 42", on_insert=lambda row: told.append((row.id,)))
            live.on_update(lambda old, new: told.append((old.text, new.text)))
            live.on_delete(lambda old: told.append(("gone", old.id)))
            assert told == [(kept,)]
            await c.call("grow", kept, 3)
            await c.call("set_zone", kept, 43)
            assert told == [(kept,), ("", "xxx"), ("gone", kept)]
            assert live.rows == []

    run(script())


def test_commit_is_whole_in_callbacks(server: Server) -> None:
    """A29, A33: a callback sees the other row of the same commit, and one commit is one step."""

    async def script() -> None:
        async with connect(server) as c:
            await c.subscribe("SELECT * FROM item WHERE zone = 60")
            seen: list[int] = []
            commits: list[int] = []
            c.table("item").on_insert(lambda row: seen.append(len(c.table("item").where(zone=60))))
            c.on_commit(lambda commit: commits.append(len(commit.changes)))
            await c.batch([("add", [f"whole {n}", 60]) for n in range(3)])
            assert seen == [3, 3, 3]
            assert commits == [3]

    run(script())


def test_overlapping_sets(server: Server) -> None:
    """A31, A32: rows that another set holds stay; a set is inactive and its rows gone after the answer."""

    async def script() -> None:
        async with connect(server) as c:
            item = await c.call("add", "shared", 61)
            by_zone = await c.subscribe("SELECT * FROM item WHERE zone = 61")
            by_id = await c.subscribe(f"SELECT * FROM item WHERE id = {item}")
            await by_zone.unsubscribe()
            assert not by_zone.is_active
            assert by_zone.rows == []
            assert c.table("item").get(item) == by_id.rows[0]
            await by_id.unsubscribe()
            assert c.table("item").get(item) is None

    run(script())


def test_bad_subscription_harms_nothing_else(server: Server) -> None:
    """A34: a refused set is an error of that set; the connection answers on."""
    with blocking.connect(server.url, server.database) as c:
        for query, code in (
            ("SELEC", "unsupported_query"),
            ("SELECT * FROM item WHERE colour = 1", "unknown_column"),
            ("SELECT * FROM nowhere", "unknown_table"),
        ):
            with pytest.raises(SenderMistake) as refused:
                c.subscribe(query)
            assert refused.value.code == code
        with pytest.raises(Forbidden):
            c.subscribe("SELECT * FROM secret")
        assert c.call("work", 1) == 0


def test_answers_come_in_order(server: Server) -> None:
    """A28: a hundred calls of mixed cost and SQL on their way at once are answered in the order they were sent."""

    async def script() -> None:
        async with connect(server) as c:
            order: list[int] = []
            futures = []
            for number in range(100):
                slow = number % 10 == 0
                future: asyncio.Future[Any] = (
                    asyncio.ensure_future(c.sql("SELECT 1")) if number % 7 == 3 else c.post("work", 20_000 * slow)
                )
                # The task of `sql` starts at its turn of the loop; let it, so that the order of sending is ours.
                await asyncio.sleep(0)
                future.add_done_callback(lambda _, number=number: order.append(number))  # type: ignore[misc]
                futures.append(future)
            await asyncio.gather(*futures)
            asked = [number for number in order if number % 7 != 3]
            assert asked == sorted(asked)
            assert len(order) == 100

    run(script())


def test_time_and_refused_values(server: Server) -> None:
    """The server's clock is estimated to within the round trip, and what is no JSON is refused here."""
    with blocking.connect(server.url, server.database) as c:
        answer = c.time()
        assert abs(c.server_now_us() - time.time_ns() // 1000) <= answer.round_trip_us + 50_000
        assert answer.clocks["world"]["rate_ppm"] == 1_000_000
        with pytest.raises(CallFailed, match="bad_arguments"):
            c.call("add", b"\x00bytes as name are text", "zone")


# -- lost connections ----------------------------------------------------------------------------


def test_cut_during_a_thousand_changes(server: Server) -> None:
    """A35: the socket is cut again and again during 1,000 changes; nothing comes twice, nothing is missed."""

    async def script() -> None:
        async with relay(server) as relayed, connect(server) as writer:
            url = f"ws://127.0.0.1:{relayed.port}"
            async with aio.connect(url, server.database, backoff=QUICK) as c:
                until = until_commit(c)
                shadow = Shadow(c, "item")
                await c.subscribe(["SELECT * FROM item WHERE zone = 70", "SELECT * FROM item WHERE zone = 71"])
                await c.subscribe("SELECT * FROM item WHERE zone = 71")
                restored: list[int] = []
                c.on_commit(lambda commit: restored.extend([commit.seq] * commit.restored))
                items = [await writer.call("add", f"cut {n}", 70 + n % 2) for n in range(20)]
                for number in range(1000):
                    await writer.call("set_zone", items[number * 7 % 20], 70 + number * 3 % 4)
                    if number % 200 == 100:
                        relayed.cut()
                last = await writer.call("add", "cut end", 70)
                await until.holds(lambda: last in c.table("item"))
                assert not shadow.faults
                assert mirrored(c) == table_rows(server, "WHERE zone IN (70, 71)")
                assert sorted(tuple(row) for row in shadow.rows.values()) == mirrored(c)
                assert restored

    run(script())


@pytest.mark.parametrize("face", ["aio", "blocking"])
def test_server_killed_and_started_again(tmp_path: Path, face: str) -> None:
    """A35, P5: after ``kill -9`` and a new start the mirror goes on, and a keyed call is carried out once."""
    with Server(PLAYGROUND, tmp_path / "data") as server:
        script = killed_async if face == "aio" else killed_blocking
        script(server)
        assert server.rows("SELECT COUNT(*) FROM item WHERE name = 'keyed'") == [[1]]


def same_port(server: Server) -> None:
    """Have the next start listen where this one does; a client comes back to where it was."""
    server.arguments = ["--listen", f"127.0.0.1:{server.port}"]


def killed_async(server: Server) -> None:
    """The asyncio half."""

    async def script() -> None:
        async with connect(server) as c:
            until = until_commit(c)
            states: list[State] = []
            c.on_state(lambda change: states.append(change.state))
            shadow = Shadow(c, "item")
            await c.subscribe("SELECT * FROM item")
            await c.call("add", "before")
            server.kill_group()
            await until.holds(lambda: c.state is State.RECONNECTING)
            keyed = asyncio.create_task(c.call("add", "keyed", key="once"))
            same_port(server)
            await asyncio.to_thread(server.start)
            item = await keyed
            assert await c.call("add", "keyed", key="once") == item
            assert c.table("item").get(item) is not None
            assert states == [State.RECONNECTING, State.CONNECTED]
            assert not shadow.faults
            assert mirrored(c) == table_rows(server)

    run(script())


def killed_blocking(server: Server) -> None:
    """The blocking half."""
    with blocking.connect(server.url, server.database, backoff=QUICK) as c:
        shadow = Shadow(c, "item")
        c.subscribe("SELECT * FROM item")
        c.call("add", "before")
        server.kill_group()
        same_port(server)
        server.start()
        item = c.call("add", "keyed", key="once")
        assert c.call("add", "keyed", key="once") == item
        assert c.table("item").get(item) is not None
        assert not shadow.faults
        assert mirrored(c) == table_rows(server)


def test_server_that_stops_says_so(tmp_path: Path) -> None:
    """A server that stops tells why; a call without a key that was on its way is in doubt, then nothing is sent."""

    async def script() -> None:
        with Server(PLAYGROUND, tmp_path / "data") as server:
            changes: list[StateChange] = []
            c = connect(server)
            until = until_commit(c)
            c.on_state(changes.append)
            await c.open()
            await asyncio.to_thread(server.stop)
            await until.holds(lambda: c.state is State.RECONNECTING)
            assert "stopping" in changes[-1].reason
            waiting = c.post("add", "never")
            await c.close()
            with pytest.raises((ConnectionClosed, ConnectionLost)):
                await waiting
            with pytest.raises(ConnectionClosed):
                await c.call("add", "never")
            assert c.state is State.CLOSED

    run(script())


def test_client_waits_for_a_server_that_is_not_up_yet(tmp_path: Path) -> None:
    """``retry_first``: a client started before its server connects when it is there."""
    with Server(PLAYGROUND, tmp_path / "data") as server:
        server.stop()
        same_port(server)

        async def script() -> None:
            c = connect(server, retry_first=True)
            opening = asyncio.create_task(c.open())
            await asyncio.to_thread(server.start)
            await opening
            assert await c.call("work", 1) == 0
            await c.close()

        run(script())
