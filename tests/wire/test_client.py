"""The client against a real ``reactor run``: both faces, lost connections, killed servers."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from client import (
    Backoff,
    CallFailed,
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    Forbidden,
    SenderMistake,
    State,
    StateChange,
    aio,
    blocking,
)
from tests.client.network import WITHIN_S, Shadow, mirrored, relay, until_commit
from tests.client.parity import parity_script
from tests.wire.serving import PLAYGROUND, Server

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


def table_rows(server: Server, where: str = "") -> list[tuple[Any, ...]]:
    """What the table really holds, asked over another door."""
    return [tuple(row) for row in server.rows(f"SELECT * FROM item {where} ORDER BY id")]


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


def test_everything_at_once(server: Server) -> None:
    """P4: sets that come and go, SQL and clocks between hundreds of commits: order holds, no row is lost."""

    async def script() -> None:
        async with connect(server) as writer, connect(server) as c:
            shadow = Shadow(c, "item")
            items = await writer.batch([("add", [f"busy {n}", 50]) for n in range(20)])
            base = await c.subscribe("SELECT * FROM item WHERE zone = 50")

            async def busy(number: int) -> None:
                for turn in range(25):
                    live = await c.subscribe(f"SELECT * FROM item WHERE zone = {50 + (turn + number) % 3}")
                    await asyncio.gather(c.sql("SELECT 1"), live.unsubscribe(), c.time())

            working = asyncio.gather(*(busy(number) for number in range(4)))
            moves = 0
            while not working.done():
                moves += 1
                calls = [writer.post("set_zone", items[n * moves % 20], 50 + (n + moves) % 3) for n in range(100)]
                await asyncio.gather(*calls)
            await working
            await c.call("set_zone", items[0], 50)
            assert [tuple(row) for row in base.rows] == table_rows(server, "WHERE zone = 50") == mirrored(c)
            assert not shadow.faults

    run(script())


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
        async with relay(server.port) as relayed, connect(server) as writer:
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
