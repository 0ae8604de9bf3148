"""The faces against scripted servers: every way a connection can end, callbacks that call, answers that never come."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Coroutine
from typing import Any

import pytest
from websockets.sync.server import ServerConnection

from client import (
    Backoff,
    BadRequest,
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    ProtocolViolation,
    Row,
    State,
    StateChange,
    aio,
    blocking,
)
from client.address import subscribe_url
from tests.client.modelserver import ModelSession
from tests.client.network import WITHIN_S, Script, Until, scripted, send_all, serve_model, until_commit

ALL = "SELECT * FROM monster"


def run(script: Coroutine[Any, Any, None]) -> None:
    """Run a script on an event loop, bounded."""

    async def bounded() -> None:
        async with asyncio.timeout(WITHIN_S):
            await script

    asyncio.run(bounded())


def closing_with(code: int, goodbye: str | None = None, greets: bool = True) -> Script:
    """A server that greets, answers nothing and closes with that code once something was asked."""

    def script(socket: ServerConnection, session: ModelSession) -> None:
        if greets:
            send_all(socket, session)
            socket.recv()
        if goodbye:
            socket.send(json.dumps({"error": {"code": goodbye, "message": f"because of {goodbye}"}}))
        socket.close(code)

    return script


def talking_nonsense(socket: ServerConnection, session: ModelSession) -> None:
    """A server that breaks the protocol."""
    send_all(socket, session)
    socket.recv()
    socket.send("nonsense")
    socket.close()


def silent(socket: ServerConnection, session: ModelSession) -> None:
    """A server that greets and then hears all, says nothing."""
    send_all(socket, session)
    for _ in socket:
        pass


class Waits:
    """Notes the waits instead of waiting."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def later(self, seconds: float) -> None:
        """For the asyncio face."""
        self.seconds.append(seconds)
        await asyncio.sleep(0)

    def now(self, seconds: float) -> None:
        """For the blocking face; its clock is moved by hand."""
        self.seconds.append(seconds)
        self.local_us += int(seconds * 1e6) + 1

    local_us = 0

    def clock(self) -> int:
        """A clock that only waits move."""
        return self.local_us


# -- ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1013])
def test_passing_ends_are_mended(code: int) -> None:
    """A35: these ends lead to another connection with the same token; the goodbye is the reason told."""

    async def script() -> None:
        with scripted(closing_with(code, "slow_consumer"), serve_model) as server:
            waits, changes = Waits(), list[StateChange]()
            async with aio.connect(server.url, "arena", sleep=waits.later, rng=random.Random(1)) as c:
                c.on_state(changes.append)
                keyed = c.call("put", "monster", [1, 0, 5], key="k")
                assert await keyed == 1
                assert changes == [
                    StateChange(State.RECONNECTING, "because of slow_consumer"),
                    StateChange(State.CONNECTED, "the server has greeted"),
                ]
                assert waits.seconds == [Backoff().delay_s(1, random.Random(1).random)]
            assert server.tokens == [None, "Bearer secret"]

    run(script())


def test_call_without_key_is_in_doubt() -> None:
    """P5: a call without a key that was on its way when the connection broke is told to be in doubt."""
    with scripted(closing_with(1011), serve_model) as server, blocking.connect(server.url, "arena") as c:
        with pytest.raises(ConnectionLost):
            c.call("put", "monster", [1, 0, 5])
        assert c.call("put", "monster", [1, 0, 5]) == 1


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (closing_with(1008, "limit_exceeded"), "limit_exceeded"),
        (closing_with(1003), None),
        (talking_nonsense, None),
    ],
)
def test_final_ends_are_final(script: Script, code: str | None) -> None:
    """After these the connection is closed for good, and every request says so."""

    async def asynchronous() -> None:
        with scripted(script) as server:
            async with aio.connect(server.url, "arena") as c:
                with pytest.raises((ConnectionClosed, ConnectionLost)):
                    await c.call("put", "monster", [1, 0, 5], key="k")
                assert c.state is State.CLOSED
                with pytest.raises(ConnectionClosed) as closed:
                    await c.time()
                assert_cause(closed.value, code)

    run(asynchronous())
    with scripted(script) as server, blocking.connect(server.url, "arena") as c:
        with pytest.raises((ConnectionClosed, ConnectionLost)):
            c.call("put", "monster", [1, 0, 5], key="k")
        with pytest.raises(ConnectionClosed) as closed:
            c.poll()
        assert_cause(closed.value, code)


def assert_cause(error: ConnectionClosed, code: str | None) -> None:
    """The error names what closed the connection."""
    cause = error.__cause__
    assert isinstance(cause, ConnectFailed)
    assert cause.fatal
    assert cause.code == code
    if "broke the protocol" in cause.message:
        assert isinstance(cause.__cause__, ProtocolViolation)


@pytest.mark.parametrize("face", ["aio", "blocking"])
def test_refusal_instead_of_a_greeting(face: str) -> None:
    """A connection that is refused after the upgrade fails to open, with the code; it is not tried again."""
    with scripted(closing_with(1008, "forbidden", greets=False)) as server:
        with pytest.raises(ConnectFailed) as refused:
            if face == "aio":
                run(aio.connect(server.url, "arena", retry_first=True).open())
            else:
                blocking.connect(server.url, "arena", retry_first=True).open()
        assert (refused.value.code, refused.value.fatal) == ("forbidden", True)
        assert len(server.tokens) == 1


def test_giving_up() -> None:
    """``attempts_max`` failures in a row end it, after growing waits; what waited fails."""

    async def script() -> None:
        waits = Waits()
        until = Until()
        with scripted(closing_with(1011)) as server:
            backoff = Backoff(first_s=1.0, jitter=0.0, attempts_max=4)
            c = aio.connect(server.url, "arena", backoff=backoff, sleep=waits.later)
            c.on_state(until)
            await c.open()
            asked = c.post("put", key="k")
            await until.holds(lambda: c.state is State.CLOSED)
        assert waits.seconds == [1.0, 2.0, 4.0]
        with pytest.raises(ConnectionClosed):
            await asked
        await c.close()

    run(script())
    waits = Waits()
    with pytest.raises(ConnectFailed):
        blocking.connect(
            server_that_was(),
            "arena",
            retry_first=True,
            backoff=Backoff(first_s=1.0, jitter=0.0, attempts_max=3),
            sleep=waits.now,
            local_us=waits.clock,
        ).open()
    assert waits.seconds == [1.0, 2.0]


def server_that_was() -> str:
    """The address of a server that has gone."""
    with scripted(silent) as server:
        return server.url


# -- waiting and callbacks -----------------------------------------------------------------------


def test_blocking_call_times_out() -> None:
    """An answer that never comes is a ``TimeoutError``; the connection can still be used and closed."""
    with scripted(silent) as server, blocking.connect(server.url, "arena", timeout_s=0.05) as c:
        reply = c.post("put")
        with pytest.raises(TimeoutError):
            reply.result(0.01)
        with pytest.raises(TimeoutError):
            c.time()
        assert not reply.done()
        assert c.poll() == 0
    with pytest.raises(ConnectionLost):
        reply.result()


def test_blocking_callbacks_may_call() -> None:
    """A callback may make calls: their commits are in the mirror at once, their callbacks come after it."""
    with scripted(serve_model) as server, blocking.connect(server.url, "arena") as c:
        c.subscribe(ALL)
        log: list[str] = []

        @c.table("monster").on_insert
        def spread(row: Row) -> None:
            log.append(f"begin {row.id}")
            if row.id < 3:
                c.call("put", "monster", [row.id + 1, 0, 5])
                log.append(f"there are {len(c.table('monster'))}")
            log.append(f"end {row.id}")

        c.call("put", "monster", [1, 0, 5])
        assert log == ["begin 1", "there are 2", "end 1", "begin 2", "there are 3", "end 2", "begin 3", "end 3"]


def test_poll_counts_commits() -> None:
    """``poll`` runs what has come meanwhile and tells how many commits that were."""

    def three_commits(socket: ServerConnection, session: ModelSession) -> None:
        send_all(socket, session)
        session.receive(socket.recv(decode=False))
        for number in range(3):
            session.server.commit({("monster", 1): [1, 0, number]})
        serve_model(socket, session)

    with scripted(three_commits) as server, blocking.connect(server.url, "arena") as c:
        live = c.subscribe(ALL)
        seen = 0
        while seen < 3:
            seen += c.poll(timeout_s=WITHIN_S)
        assert seen == 3
        assert live.rows == [(1, 0, 2)]
        assert c.seq == 3


def test_cancelled_subscribe_is_undone() -> None:
    """A ``subscribe`` whose task was cancelled does not stay behind: the server is told to end the set."""

    async def script() -> None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def answers_late(socket: ServerConnection, session: ModelSession) -> None:
            send_all(socket, session)
            session.receive(socket.recv(decode=False))
            session.receive(socket.recv(decode=False))
            send_all(socket, session)
            session.receive(socket.recv(decode=False))
            assert not session.sets
            loop.call_soon_threadsafe(ended.set)
            serve_model(socket, session)

        with scripted(answers_late) as server:
            async with aio.connect(server.url, "arena") as c:
                task = asyncio.create_task(c.subscribe(ALL))
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await c.time()
                await ended.wait()

    run(script())


def test_broken_callbacks_harm_nothing() -> None:
    """A callback that raises is reported to the hook; the connection goes on, on both faces."""
    hooked: list[str] = []

    def hook(error: Exception, callback: object) -> None:
        hooked.append(str(error))

    def broken(*_: object) -> None:
        raise ValueError("mine")

    async def script() -> None:
        with scripted(serve_model) as server:
            async with aio.connect(server.url, "arena", on_callback_error=hook) as c:
                c.on_commit(broken)
                c.on_state(broken)
                await c.subscribe(ALL, on_insert=broken)
                assert await c.call("put", "monster", [1, 0, 5]) == 1
                assert await c.call("put", "monster", [2, 0, 5]) == 2

    run(script())
    assert hooked == ["mine"] * 5  # two inserts, two commits, the state "closed"


def test_posted_calls_are_sent_before_closing() -> None:
    """What was asked to be sent goes out before the goodbye, though nobody waits for its answer."""

    async def script() -> None:
        with scripted(serve_model) as server:
            async with aio.connect(server.url, "arena") as c:
                until = until_commit(c)
                await c.subscribe(ALL)
                futures = [c.post("put", "monster", [key, 0, 5]) for key in range(10)]
                await until.holds(lambda: len(c.table("monster")) == 10)
                futures.append(c.post("put", "monster", [10, 0, 5]))
            assert len(futures) == 11
            await asyncio.gather(*futures, return_exceptions=True)
        assert server.model.seq == 11

    run(script())


# -- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("ws://host:3000", "ws://host:3000/v1/database/a%20b/subscribe"),
        ("http://host:3000/", "ws://host:3000/v1/database/a%20b/subscribe"),
        ("https://host/games/", "wss://host/games/v1/database/a%20b/subscribe"),
    ],
)
def test_addresses(url: str, address: str) -> None:
    """A20: HTTP and WebSocket addresses are both taken, the database's name is quoted."""
    assert subscribe_url(url, "a b") == address


@pytest.mark.parametrize("url", ["", "host:3000", "ftp://host", "ws://"])
def test_bad_addresses(url: str) -> None:
    """A20: what is no address is refused at once."""
    with pytest.raises(ConnectFailed, match="not an address"):
        subscribe_url(url, "arena")


def test_bad_requests_are_raised_where_they_are_made() -> None:
    """A request that cannot be sent fails at the call, not at some later moment."""
    with scripted(serve_model) as server, blocking.connect(server.url, "arena") as c:
        with pytest.raises(BadRequest):
            c.post("put", object())
        live = c.subscribe(ALL)
        live.unsubscribe()
        with pytest.raises(BadRequest):
            live.unsubscribe()
