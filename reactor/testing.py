"""A rig for tests: the real engine, host, log and projection under a clock that moves when you say so.

    def test_a_restart_does_not_move_a_due_time():
        with Rig(arena) as rig:
            rig.start("respawn", entity_id=7, payload={"delay_us": minutes(5)})
            rig.advance(minutes(3))
            rig.crash()
            rig.advance(minutes(2))
            rig.reopen()
            assert rig.row("monster", 7).hp > 0

Everything is as in production except the clock, the sockets and the processes: files are real, commits are
synced, a crash forgets what was in memory. ``docs/testing.md`` is the guide.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from reactor.assembly import compose, load_engine, sql_tables, start_host
from reactor.budget import BudgetGuard
from reactor.clock import SimulatedClock
from reactor.errors import ReactorError, SenderError, invariant
from reactor.host import Host
from reactor.limits import DEFAULT_LIMITS, Limits
from reactor.messages import Batch, Call, Caller, Task
from reactor.module import Module
from reactor.reloading import Reloaded, reload
from reactor.scopes import WORLD
from reactor.session import Session
from reactor.sql.asking import body_of, request_of
from reactor.sql.inline import InlineSql
from reactor.sql.messages import SqlCaps
from reactor.storage import InlineStorage, Opened, open_store

OWNER = "0" * 32


class Watch:
    """A subscription of the rig: the rows its query matches now, and every event it was told.

    ``rows`` maps primary key to row as a dict; ``events`` are ``(kind, row or key)`` in order, ``frames`` the commit
    frames as they came.
    """

    def __init__(self, columns: list[str], key: str, rows: list[list[Any]]) -> None:
        self.columns = columns
        self._key_at = columns.index(key)
        self.rows: dict[Any, dict[str, Any]] = {r[self._key_at]: self._named(r) for r in rows}
        self.events: list[tuple[str, Any]] = []
        self.frames: list[dict[str, Any]] = []

    def _named(self, row: list[Any]) -> dict[str, Any]:
        return dict(zip(self.columns, row, strict=True))

    def apply(self, frame: dict[str, Any], delta: dict[str, Any]) -> None:
        """Take over one commit's delta."""
        self.frames.append(frame)
        for key in delta.get("delete", ()):
            del self.rows[key]
            self.events.append(("delete", key))
        for old_key, row in delta.get("update", ()):
            del self.rows[old_key]
            self.rows[row[self._key_at]] = self._named(row)
            self.events.append(("update", self._named(row)))
        for row in delta.get("insert", ()):
            self.rows[row[self._key_at]] = self._named(row)
            self.events.append(("insert", self._named(row)))


class RigClient:
    """A client of the rig: a real session without a socket. Messages in and out are JSON values."""

    def __init__(self, rig: Rig, identity: str, is_owner: bool, connection_id: str) -> None:
        self.rig = rig
        self.received: list[Any] = []
        self.closed: tuple[int, str] | None = None
        self.watches: dict[int, Watch] = {}
        self._next_id = 0
        self.unread_bytes = 0
        self.session = Session(
            rig.host,
            Caller(identity, connection_id, is_owner),
            token=None,
            send=self._send,
            close=self._close,
            frame=lambda message: message + b"\n",
        )
        rig.host.connect(self.session)
        rig.settle()

    def _send(self, data: bytes) -> int:
        for line in data.splitlines():
            message = orjson.loads(line)
            self.received.append(message)
            for delta in message.get("deltas", ()):
                watch = self.watches.get(delta["query"])
                if watch is not None:
                    watch.apply(message, delta)
        return self.unread_bytes

    def _close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def send(self, message: dict[str, Any] | bytes) -> None:
        """Send a message as it is; look into ``received`` for what comes back."""
        self.session.receive(message if isinstance(message, bytes) else orjson.dumps(message))

    def ask(self, **message: Any) -> dict[str, Any]:
        """Send a message with a fresh id and return its answer."""
        self._next_id += 1
        request_id = f"rig-{self._next_id}"
        self.send({"id": request_id, **message})
        self.rig.settle()
        for message_in in reversed(self.received):
            if message_in.get("id") == request_id:
                answer: dict[str, Any] = message_in
                return answer
        raise LookupError(f"no answer to {message}")

    def watch(self, sql: str) -> Watch:
        """Subscribe to one query and keep its rows up to date."""
        answer = self.ask(subscribe=[sql])
        if "error" in answer:
            told = dict(answer["error"])
            raise SenderError(told.pop("code"), told.pop("message"), **told)
        part = answer["ok"]["queries"][0]
        watch = Watch(part["columns"], part["key"], part["rows"])
        self.watches[part["query"]] = watch
        return watch

    def disconnect(self) -> None:
        """The connection is lost."""
        self.rig.host.disconnect(self.session)
        self.rig.settle()


class Rig:
    """One database under test. Use it as a context manager, or call ``close``.

    ``start_us`` is where the clock begins. Every database of a rig has the same seed, so a test does the same thing
    each time it runs.
    """

    def __init__(
        self,
        module: Module,
        *,
        start_us: int = 1_700_000_000_000_000,
        limits: Limits = DEFAULT_LIMITS,
        directory: Path | None = None,
        guard: BudgetGuard | None = None,
    ) -> None:
        self.module = module
        self.limits = limits
        self.clock = SimulatedClock(start_us)
        self.logs: list[tuple[str, str, str]] = []
        self._guard = guard
        self._owned = None if directory is not None else tempfile.mkdtemp(prefix="reactor-rig-")
        self.directory = directory or Path(self._owned or "")
        self._history = hashlib.sha256(b"rig").hexdigest()[:32]
        self._connections = 0
        self.is_open = False
        self.reopen()

    def __enter__(self) -> Rig:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- life --------------------------------------------------------------------------------

    def reopen(self, module: Module | None = None) -> None:
        """Start on the same files, with another version of the module if one is given. Raises ``Refusal``."""
        invariant(not self.is_open, "crash or stop the rig before it is opened again")
        self.module = module or self.module
        program = compose(self.module)
        opened = open_store(
            self.directory,
            list(program.tables.values()),
            now_us=self.clock.now(),
            new_history_id=self._history,
            limits=self.limits,
            indexes=list(program.indexes.values()),
        )
        try:
            self._assemble(opened)
        except BaseException:
            opened.release()
            raise
        self.is_open = True
        self.settle()

    def _assemble(self, opened: Opened) -> None:
        program = compose(self.module)
        engine = load_engine(program, opened, limits=self.limits, guard=self._guard, new_seed=4711, log=self._log)
        self.storage = InlineStorage(opened)
        self._inline_sql = InlineSql(lambda: self.storage.projection_connection().raw, sql_tables(program))

        def run_sql(question: Any, respond: Callable[[bytes | ReactorError], None]) -> None:
            try:
                request = request_of(question, SqlCaps.of(self.limits))
                body: bytes | ReactorError = body_of(question, self._inline_sql.run(request))
            except ReactorError as error:
                body = error
            respond(body)

        self.engine = engine
        self.host = Host(engine, self.storage, self.clock, sql=run_sql)
        start_host(self.host, opened)

    def reload(self, module: Module) -> Reloaded:
        """Put another version of the module in place of the running one; raises as ``reactor.reloading.reload``."""
        self.settle()
        done = reload(self.host, compose(module))
        self.module = module
        self._inline_sql = InlineSql(lambda: self.storage.projection_connection().raw, sql_tables(self.engine.program))
        self.settle()
        return done

    def _log(self, at: int, level: str, logger: str, message: str) -> None:
        self.logs.append((level, logger, message))

    def crash(self, *, heartbeat_age_us: int = 0) -> None:
        """Forget everything that is not on disk, as if the process had been killed.

        A server notes every second what its clocks show; ``heartbeat_age_us`` is how long ago that was. ``world``
        goes on from there, or from the last commit if that is newer.
        """
        now = self.clock.now() - heartbeat_age_us
        self.storage.mark_alive(now, self.engine.scopes.value_at(WORLD, now))
        self.storage.release()
        self.is_open = False

    def stop(self) -> None:
        """Stop in good order."""
        self.settle()
        self.host.stop()
        self.host.mark_alive()
        self.host.send_rest()
        self.storage.close()
        self.is_open = False

    def close(self) -> None:
        """End the rig and remove the files it made itself."""
        if self.is_open:
            self.storage.release()
            self.is_open = False
        if self._owned is not None:
            shutil.rmtree(self._owned, ignore_errors=True)

    # -- time --------------------------------------------------------------------------------

    def settle(self) -> None:
        """Run turns until nothing is waiting at this instant."""
        while self.host.run_turn():
            pass

    def advance(self, duration_us: int) -> None:
        """Let time pass; every timer fires at its instant. On a crashed rig only the clock moves."""
        end = self.clock.now() + duration_us
        while self.is_open:
            due = self.host.next_due()
            if due is None or due > end:
                break
            self.clock.move_to(due)
            self.settle()
        self.clock.move_to(end)
        if self.is_open:
            self.settle()

    # -- doing things ------------------------------------------------------------------------

    def call(self, reducer: str, /, *args: Any, sender: str = OWNER, key: str | None = None) -> Any:
        """Call a reducer as a client would, by default as the owner; returns its result or raises its error."""
        caller = Caller(sender, None, sender == OWNER)
        return self._answer(lambda token: Call(reducer, orjson.dumps(args), caller, token, key))

    def batch(self, *calls: tuple[Any, ...], sender: str = OWNER, key: str | None = None) -> Any:
        """Call several reducers in one commit: ``rig.batch(("hit", 7, 5), ("heal", 7))``."""
        caller = Caller(sender, None, sender == OWNER)
        prepared = [(str(name), orjson.dumps(args)) for name, *args in calls]
        return self._answer(lambda token: Batch(prepared, caller, token, key))

    def run(self, function: Callable[[Any], Any], sender: str | None = None) -> Any:
        """Run a function as a reducer, ``rig.run(lambda ctx: ctx.db.monster.insert(zone=1))``; returns its result."""
        kept: list[Any] = []
        self._answer(lambda token: Task("rig", lambda ctx: kept.append(function(ctx)), Caller(sender), token))
        return kept[0]

    def start(
        self,
        workflow_type: str,
        *,
        entity_id: int | None = None,
        correlation_id: str | None = None,
        payload: Any = None,
    ) -> int:
        """Start a workflow; returns its id. For modules that include the workflow engine."""
        workflow_id: int = self.call("workflow_start", workflow_type, entity_id, correlation_id, payload)
        return workflow_id

    def _answer(self, make: Callable[[Callable[[int, Any], None]], Any]) -> Any:
        answers: list[Any] = []
        self.host.submit(make(lambda seq, body: answers.append(body)))
        self.settle()
        invariant(len(answers) == 1, "a request has one answer")
        if isinstance(answers[0], ReactorError):
            raise answers[0]
        return orjson.loads(answers[0])

    def connect(self, identity: str = OWNER, *, is_owner: bool | None = None) -> RigClient:
        """A client with a session of its own."""
        self._connections += 1
        owner = identity == OWNER if is_owner is None else is_owner
        return RigClient(self, identity, owner, f"{self._connections:032x}")

    def subscribe(self, sql: str) -> Watch:
        """Watch one live query as the owner."""
        return self.connect().watch(sql)

    # -- looking -----------------------------------------------------------------------------

    def row(self, table: str, key: Any) -> Any:
        """A row by primary key, or None."""
        return self.engine.store.tables[table].get(key)

    def rows(self, table: str) -> list[Any]:
        """All rows of a table, in primary-key order."""
        return list(self.engine.store.tables[table])

    def sql(self, text: str, params: Any = None, *, owner: bool = True) -> list[list[Any]]:
        """Run SQL for people; returns the rows."""
        client = self.connect(OWNER if owner else "f" * 32)
        answer = client.ask(sql=text, params=params)
        client.disconnect()
        if "error" in answer:
            told = dict(answer["error"])
            raise SenderError(told.pop("code"), told.pop("message"), **told)
        rows: list[list[Any]] = answer["ok"]["rows"]
        return rows
