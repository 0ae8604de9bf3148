"""Starts a real ``reactor run`` on a free port of the loopback and talks to it; for the tests of the doors.

Everything a test starts is its own process group, and only that group is ever signalled.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import orjson
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as open_socket

MODULES = Path(__file__).parent / "modules"
PLAYGROUND = MODULES / "playground.py"
READY_WITHIN_S = 30.0
STOP_WITHIN_S = 30.0
ROOT = Path(__file__).parents[2]


class Response(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as a value."""
        return orjson.loads(self.body)

    @property
    def code(self) -> str:
        """The error code of the body."""
        return str(self.json["error"]["code"])


class Finished(NamedTuple):
    """A command that has ended."""

    status: int
    out: str
    err: str


def reactor(*arguments: str, cwd: Path, env: dict[str, str] | None = None, timeout_s: float = 60.0) -> Finished:
    """Run a ``reactor`` command to its end. Variables of this process's environment do not reach it."""
    done = subprocess.run(
        [sys.executable, "-m", "reactor", *arguments],
        cwd=cwd,
        env=clean_environment(env),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def clean_environment(more: dict[str, str] | None = None) -> dict[str, str]:
    """The environment without the variables that the commands look at."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REACTOR_")}
    path = os.pathsep.join(filter(None, (str(ROOT), kept.get("PYTHONPATH"))))
    return {**kept, "PYTHONPATH": path, **(more or {})}


class Server:
    """One running ``reactor run``. ``start`` again after it has ended to serve the same files once more."""

    def __init__(self, module: Path, data_dir: Path, *, arguments: Sequence[str] = (), listen_port: int = 0) -> None:
        self.module = module
        self.listen_port = listen_port
        self.data_dir = data_dir
        self.arguments = list(arguments)
        self.log = data_dir.parent / f"{data_dir.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.database = ""

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    # -- life --------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it and wait for the ready line; raises with the log when it ends instead."""
        self.spawn()
        self.wait_ready()

    def spawn(self) -> None:
        """Start it and do not wait."""
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "reactor", "run", str(self.module), *self._placed(), *self.arguments],
                cwd=self.data_dir.parent,
                env=clean_environment(),
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Wait for the ready line of a spawned one."""
        ready = orjson.loads(self._first_line())["ready"]
        self.port = int(ready["url"].rpartition(":")[2])
        self.database = ready["database"]

    def _placed(self) -> list[str]:
        place = [] if "--in-memory" in self.arguments else ["--data-dir", str(self.data_dir)]
        return ["--listen", f"127.0.0.1:{self.listen_port}", "--json-logs", *place]

    def _first_line(self) -> bytes:
        process = self._process
        if process.stdout is None:
            raise RuntimeError("the ready line is read from a pipe")
        line = process.stdout.readline()
        if not line:
            status = process.wait(STOP_WITHIN_S)
            raise RuntimeError(f"the server ended with status {status}:\n{self.log.read_text()}")
        return line

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise RuntimeError("the server has not been started")
        return self.process

    @property
    def pid(self) -> int:
        """The reactor's process."""
        return self._process.pid

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop and return its exit code."""
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Its exit code, once it has ended by itself."""
        return self._process.wait(STOP_WITHIN_S)

    def kill(self) -> None:
        """``kill -9`` for the reactor alone: its writer finishes what it was sent."""
        self._process.kill()
        self._process.wait(STOP_WITHIN_S)

    def kill_group(self) -> None:
        """``kill -9`` for the reactor, its writer and its SQL reader at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(STOP_WITHIN_S)

    def end(self) -> None:
        """Make sure that nothing is left of it."""
        if self.process is not None:
            self.kill_group()
            if self.process.stdout is not None:
                self.process.stdout.close()

    def child(self, part: str) -> int:
        """The process id of its helper whose command contains ``part``."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        for child in children:
            if part.encode() in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
        raise LookupError(f"process {self.pid} has no child with {part} in its command")

    def log_lines(self) -> list[dict[str, Any]]:
        """What it has logged, over all its runs."""
        lines = [line for line in self.log.read_bytes().splitlines() if line.startswith(b"{")]
        return [orjson.loads(line) for line in lines]

    # -- doors -------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def owner_token(self) -> str:
        """The secret of the owner."""
        return (self.data_dir / "owner.token").read_text().strip()

    def http(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        timeout_s: float = 30.0,
    ) -> Response:
        """One HTTP request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def call(self, reducer: str, *args: Any, token: str | None = None, key: str | None = None) -> Response:
        """Call a reducer over HTTP."""
        headers = {"Idempotency-Key": key} if key is not None else {}
        path = f"/v1/database/{self.database}/call/{reducer}"
        return self.http("POST", path, orjson.dumps(args), token=token, headers=headers)

    def sql(self, text: str, *, token: str | None = None) -> Response:
        """SQL for people over HTTP, as the owner unless a token is given."""
        path = f"/v1/database/{self.database}/sql"
        return self.http("POST", path, text.encode(), token=token or self.owner_token)

    def rows(self, text: str) -> list[list[Any]]:
        """The rows of a query as the owner."""
        answer = self.sql(text)
        if answer.status != 200:
            raise RuntimeError(answer.body.decode())
        rows: list[list[Any]] = answer.json["rows"]
        return rows

    @contextlib.contextmanager
    def socket(self, token: str | None = None, **options: Any) -> Iterator[Wire]:
        """A WebSocket that has been greeted."""
        with self.raw_socket(token, **options) as connection:
            yield Wire(connection)

    def raw_socket(self, token: str | None = None, database: str | None = None, **options: Any) -> ClientConnection:
        """A WebSocket before its greeting."""
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        url = f"ws://127.0.0.1:{self.port}/v1/database/{database or self.database}/subscribe"
        settings = {"compression": None, "proxy": None, "max_size": None, "close_timeout": 2.0, **options}
        return open_socket(url, additional_headers=headers, legacy=True, **settings)


class Wire:
    """The native protocol by hand: messages in and out as they are."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.hello: dict[str, Any] = self.receive()["hello"]
        self.told: list[dict[str, Any]] = []
        self._next_id = 0

    def send(self, message: Any) -> None:
        """Send a message; text goes as it is."""
        self.connection.send(message if isinstance(message, str) else orjson.dumps(message).decode())

    def receive(self, timeout_s: float = 30.0) -> dict[str, Any]:
        """The next message."""
        message: dict[str, Any] = orjson.loads(self.connection.recv(timeout_s))
        return message

    def ask(self, **message: Any) -> dict[str, Any]:
        """Send with a fresh id and return the answer; what comes before it is kept in ``told``."""
        self._next_id += 1
        self.send({"id": self._next_id, **message})
        while True:
            answer = self.receive()
            if answer.get("id") == self._next_id:
                return answer
            self.told.append(answer)

    def ok(self, **message: Any) -> Any:
        """The value of an answer that is not an error."""
        answer = self.ask(**message)
        if "error" in answer:
            raise RuntimeError(f"{str(message)[:500]}: {answer['error']}")
        return answer["ok"]

    def code(self, **message: Any) -> str:
        """The error code of an answer."""
        return str(self.ask(**message)["error"]["code"])


def eventually(condition: Callable[[], bool], within_s: float = 10.0) -> bool:
    """Whether ``condition`` becomes true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def free_port() -> int:
    """A port below the range that the system gives to outgoing connections: a client that keeps trying to come back
    must not be given the very port it knocks at."""
    rng = random.Random()
    while True:
        port = rng.randrange(20_000, 30_000)
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
