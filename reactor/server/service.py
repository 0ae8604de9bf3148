"""One database in this process: its store opened, its engine loaded, its turns run when there is something to do."""

from __future__ import annotations

import asyncio
import gc
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reactor.access import Access
from reactor.assembly import compose, load_engine, sql_tables, start_host
from reactor.budget import BudgetGuard, NoGuard
from reactor.clock import SECOND, SystemClock
from reactor.datadir import DataDirectory, hold_directory
from reactor.engine import Engine
from reactor.errors import ReactorError, Refusal
from reactor.host import Host
from reactor.limits import DEFAULT_LIMITS, Limits
from reactor.logbook import Logbook
from reactor.module import Module, Program
from reactor.reloading import Reloaded, reload
from reactor.server.alarm import Alarm
from reactor.server.garbage import Garbage
from reactor.server.websocket import Connection
from reactor.sql.asking import Question, body_of, request_of
from reactor.sql.inline import InlineSql
from reactor.sql.messages import SqlCaps, SqlTables
from reactor.sql.process import SqlReader
from reactor.storage import Durability, InlineStorage, Opened, open_store
from reactor.storage.opening import PROJECTION_FILE
from reactor.storage.process import ProcessStorage
from reactor.system import REQUEST_TABLE

# How long a stop waits for the disk before it leaves callers in doubt.
_STOP_S = 10.0
_SETTLE_S = 30


LoadAnew = Callable[[], tuple[Module, Callable[[], None]]]


@dataclass(frozen=True)
class Settings:
    """How a database is served. ``directory`` None keeps everything in memory and loses it at the end."""

    directory: Path | None
    durability: Durability = "full"
    listen: str = ""
    recover: bool = True
    limits: Limits = DEFAULT_LIMITS


class Service:
    """The running database. ``start`` on a loop, then ``host`` takes requests; ``stop`` ends it in good order.

    Raises ``Refusal`` from ``start`` when the store, the module or its checks say no.
    """

    def __init__(
        self,
        module: Module,
        settings: Settings,
        logbook: Logbook,
        guard: BudgetGuard | None = None,
        load_anew: LoadAnew | None = None,
    ) -> None:
        """``load_anew`` loads the module as its files are now, for ``reload``; see ``reactor.loading.load_anew``."""
        self.settings = settings
        self.logbook = logbook
        self.clock = SystemClock()
        self.is_ready = False
        self.connections: set[Connection] = set()
        self.lost = asyncio.Event()
        self.lost_message = ""
        self._program: Program = compose(module)
        self._guard = guard or NoGuard()
        self._turn_wanted = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.directory: DataDirectory | None = None
        self._readers: list[SqlReader] = []
        self._load_anew = load_anew
        self._reloading = asyncio.Lock()

    # -- start and stop ------------------------------------------------------------------------

    async def start(self) -> None:
        """Open, load, recover; on return calls are accepted."""
        self._loop = asyncio.get_running_loop()
        if self.settings.directory is not None:
            self.directory = hold_directory(
                self.settings.directory,
                now_us=self.clock.now(),
                listen=self.settings.listen,
                durability=self.settings.durability,
            )
        try:
            await self._open()
        except BaseException:
            if self.directory is not None:
                self.directory.release()
            raise

    async def _open(self) -> None:
        settings, program = self.settings, self._program
        opened = open_store(
            settings.directory,
            list(program.tables.values()),
            now_us=self.clock.now(),
            new_history_id=secrets.token_hex(16),
            durability=settings.durability,
            limits=settings.limits,
            indexes=list(program.indexes.values()),
        )
        try:
            # A load makes millions of objects that live on; looking for garbage among them would double its time.
            gc.disable()
            for warning in opened.warnings:
                self._log("warning", warning)
            engine = load_engine(
                program,
                opened,
                limits=settings.limits,
                guard=self._guard,
                new_seed=secrets.randbits(64),
                log=self.logbook.write,
            )
            self._serve(engine, opened)
            self._start_host(engine, opened)
        except BaseException:
            opened.release()
            raise
        finally:
            gc.enable()
        gc.collect()
        self._garbage = Garbage(engine)
        self._garbage.settle()
        self.access = Access(self.directory.owner_token if self.directory is not None else secrets.token_hex(32))
        self._alarm = Alarm(self.clock, self._want_turn)
        self._housekeeping()
        self.is_ready = True
        self._want_turn()
        rows = sum(len(table) for table in engine.store)
        self._log("info", f"{program.name} is ready at seq {engine.seq} with {rows} rows")

    def _start_host(self, engine: Engine, opened: Opened) -> None:
        if self.settings.recover:
            start_host(self.host, opened)
            return
        # To be looked at as it was left: no init, no recovery, no timer, and its clocks go on standing still.
        engine.halted = "it was started without recovery, to be looked at only"
        self.host.publisher.load_recent(opened.recent, opened.last_seq)
        self._storage.start(self.host)

    def _serve(self, engine: Engine, opened: Opened) -> None:
        tables = sql_tables(self._program)
        if opened.directory is None:
            inline = InlineStorage(opened)
            self._storage: InlineStorage | ProcessStorage = inline
            self._inline_connection = lambda: inline.projection_connection().raw
            self._inline_sql = InlineSql(self._inline_connection, tables)
        else:
            inherited = () if self.directory is None else (self.directory.lock_fd,)
            self._storage = ProcessStorage(opened, inherited_fds=inherited)
            self._projection = opened.directory / PROJECTION_FILE
            self._readers = self._new_readers(tables)
        self.host = Host(
            engine,
            self._storage,
            self.clock,
            durability=self.settings.durability if opened.directory is not None else "memory",
            sql=self._ask_sql,
            wake=self._want_turn,
            on_lost=self._lost,
        )

    def _new_readers(self, tables: SqlTables) -> list[SqlReader]:
        """One for the owner, one for everybody else: whatever strangers ask, the owner is answered."""
        return [SqlReader(self._projection, tables, limits=self.settings.limits) for _ in range(2)]

    async def stop(self) -> None:
        """Stop taking requests, answer what was taken, store and project everything, end the helper processes."""
        self.host.stop()
        deadline = self._loop.time() + _STOP_S
        while not (self.host.is_settled or self.lost.is_set() or self._loop.time() > deadline):
            self.host.run_turn()
            await asyncio.sleep(0.001)
        self.host.say_goodbye()
        self._alarm.close()
        if not self.lost.is_set() and self.settings.recover:
            self.host.mark_alive()
        try:
            for reader in self._readers:
                await reader.close()
        finally:
            self.host.send_rest()
            self._storage.close()
            if self.directory is not None:
                self.directory.release()
        self._log("info", "stopped")

    # -- another version of the module -----------------------------------------------------------

    async def reload(self) -> dict[str, Any]:
        """Load the module anew and put it in place of the running one; returns what has changed.

        It is loaded beside the running one, on another thread; the swap itself holds everything up. Raises
        ``ReactorError`` as ``reactor.reloading.reload`` and ``reactor.loading`` do: the running version goes on then.
        """
        if self._load_anew is None:
            raise Refusal("restart_needed", "this server was not started from a file, so there is nothing to load anew")
        async with self._reloading:
            began = self._loop.time()
            try:
                module, put_back = await asyncio.to_thread(self._load_anew)
                loaded = self._loop.time()
                try:
                    done = self._swap(module)
                except BaseException:
                    put_back()
                    raise
            except ReactorError as error:
                self._log("error", f"the module was not loaded anew, the one before goes on: {error.message}")
                raise
            pause_us, load_us = (round(1e6 * s) for s in (self._loop.time() - loaded, loaded - began))
            self._log("info", f"{module.name} was loaded anew in {load_us / 1e6:.3f} s, swapped in {pause_us} µs")
            return {**done.to_json(), "load_us": load_us, "pause_us": pause_us}

    def _swap(self, module: Module) -> Reloaded:
        program = compose(module)
        done = reload(self.host, program)
        self._program = program
        if done.views_changed:
            self._open_sql(program)
        self._want_turn()
        return done

    def _open_sql(self, program: Program) -> None:
        """Answer SQL with the views of ``program``; queries that run go on to their end where they are."""
        tables = sql_tables(program)
        if not self._readers:
            self._inline_sql = InlineSql(self._inline_connection, tables)
            return
        before, self._readers = self._readers, self._new_readers(tables)
        for reader in before:
            self._later(reader.drain())

    def _lost(self, message: str) -> None:
        self.lost_message = message
        self._log("error", f"the storage is gone, so the reactor stops: {message}")
        self.lost.set()

    def _log(self, level: str, message: str) -> None:
        self.logbook.write(self.clock.now(), level, "reactor", message)

    # -- turns ---------------------------------------------------------------------------------

    def _want_turn(self) -> None:
        if not self._turn_wanted:
            self._turn_wanted = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_wanted = False
        if self.host.run_turn():
            self._want_turn()
        else:
            self._alarm.set(self.host.next_due())

    # -- SQL for people and reports --------------------------------------------------------------------------

    def _ask_sql(self, question: Question, respond: Callable[[bytes | ReactorError], None]) -> None:
        request = request_of(question, SqlCaps.of(self.settings.limits))

        async def ask() -> None:
            runner: Any = self._readers[int(question.caller.is_owner)] if self._readers else self._inline_sql
            try:
                body: bytes | ReactorError = body_of(question, await runner.query(request))
            except ReactorError as error:
                body = error
            respond(body)

        self._later(ask())

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- housekeeping --------------------------------------------------------------------------

    def _housekeeping(self) -> None:
        self._alarm.every(20, self._keep_alive, "keep-alive")
        self._alarm.every(_SETTLE_S, lambda: self._garbage.settle(_SETTLE_S), "garbage")
        if self.settings.recover:
            self._alarm.every(1, self._heartbeat, "heartbeat")
            self._alarm.every(30, self._trim, "trim-log")
            self._alarm.every(60, self._forget_requests, "forget-requests")

    def _heartbeat(self) -> None:
        stepped = self.clock.follow_wall()
        if stepped:
            self._log("warning", f"the wall clock was set forward by {stepped / SECOND:.3f} s; timers follow it")
            self.host.wall_stepped(stepped)
        self.host.questions.expire(self.clock.now())
        self.host.mark_alive()

    def _keep_alive(self) -> None:
        for connection in list(self.connections):
            connection.keep_alive()

    def _trim(self) -> None:
        limits = self.settings.limits
        self._storage.trim(self.clock.now() - limits.log_retention_s * SECOND, limits.log_bytes_max)

    def _forget_requests(self) -> None:
        if self.host.engine.store.tables[REQUEST_TABLE].rows:
            self.host.forget_requests()
