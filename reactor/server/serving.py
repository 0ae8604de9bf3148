"""The port: uvicorn for HTTP, our connection class for WebSocket, signals, and the order of start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import signal
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from reactor.budget import SignalGuard
from reactor.clock import Clock
from reactor.errors import ReactorError, Refusal
from reactor.logbook import Logbook
from reactor.module import Module
from reactor.server.heads import HttpConnection
from reactor.server.http import application
from reactor.server.service import LoadAnew, Service, Settings
from reactor.server.websocket import Connection

OnReady = Callable[[Service, str], None]

STOPPED = 0
LOST = 6


class _Uvicorn(uvicorn.Server):
    """uvicorn without its signal handling: the reactor decides when and how to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Leave the signals alone."""
        yield


def parse_listen(listen: str) -> tuple[str, int]:
    """``host:port`` as a pair; ``Refusal`` if it is not one. Port 0 lets the system choose."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65_535:
        raise Refusal("address_in_use", f"--listen is HOST:PORT, such as 127.0.0.1:3000, not {listen!r}")
    return host.strip("[]") or "127.0.0.1", int(port)


def _bind(listen: str) -> socket.socket:
    host, port = parse_listen(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise Refusal(
            "address_in_use", f"cannot listen on {listen}: {error.strerror}; choose another --listen"
        ) from None
    listening.listen(2048)
    listening.setblocking(False)
    return listening


def _shown(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if listening.family == socket.AF_INET6 else f"{host}:{port}"


class _ToLogbook(logging.Handler):
    """Brings what libraries and helpers say through ``logging`` into the one log."""

    def __init__(self, logbook: Logbook, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        super().__init__(logging.WARNING)
        self._logbook, self._loop, self._clock = logbook, loop, clock

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record; from another thread, a moment later."""
        level = "error" if record.levelno >= logging.ERROR else "warning"
        line = (self._clock.now(), level, record.name, self.format(record))
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._logbook.write, *line)


async def serve(
    module: Module,
    settings: Settings,
    logbook: Logbook,
    *,
    on_ready: OnReady | None = None,
    load_anew: LoadAnew | None = None,
) -> int:
    """Serve ``module`` until SIGINT or SIGTERM; returns the exit code. Raises ``Refusal`` when it will not start.

    ``on_ready(service, address)`` is called with ``host:port`` once calls are accepted. ``load_anew`` loads the module
    as its files are now: a SIGHUP, or whoever may ask for it, then has it put in place of the running one.
    """
    listening = _bind(settings.listen)
    address = _shown(listening)
    try:
        service = Service(module, settings, logbook, SignalGuard(), load_anew)
        await service.start()
    except BaseException:
        listening.close()
        raise
    handler = _ToLogbook(logbook, asyncio.get_running_loop(), service.clock)
    logging.getLogger().addHandler(handler)
    try:
        return await _serve(service, listening, address, on_ready)
    finally:
        logging.getLogger().removeHandler(handler)


async def _serve(service: Service, listening: socket.socket, address: str, on_ready: OnReady | None) -> int:
    server = _uvicorn(service)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    reloads: set[asyncio.Task[None]] = set()
    loop.add_signal_handler(signal.SIGHUP, lambda: reloads.add(loop.create_task(_reload(service, reloads))))
    running = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started and not running.done():
        await asyncio.sleep(0.005)
    if on_ready is not None:
        on_ready(service, address)
    waits = [asyncio.create_task(stop.wait()), asyncio.create_task(service.lost.wait()), running]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    await service.stop()
    server.should_exit = True
    await running
    for task in waits[:2]:
        task.cancel()
    return LOST if service.lost.is_set() else STOPPED


async def _reload(service: Service, running: set[asyncio.Task[None]]) -> None:
    """Load the module anew because a signal asked for it; what goes wrong is in the log."""
    try:
        with contextlib.suppress(ReactorError):
            await service.reload()
    finally:
        running.discard(asyncio.current_task())


def _uvicorn(service: Service) -> _Uvicorn:
    def connection(config: Any, server_state: Any, app_state: Any) -> Connection:
        return Connection(service, server_state.connections)

    config = uvicorn.Config(
        # The routes of reports that a reload brings come with the next start.
        application(service, [r.route for r in service.host.engine.program.reports.values() if r.route]),
        ws=functools.partial(connection),  # type: ignore[arg-type]
        http=HttpConnection,
        lifespan="off",
        # Errors only: what strangers send must not fill the log.
        log_level=logging.ERROR,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
        proxy_headers=False,
    )
    return _Uvicorn(config)


def run(
    module: Module,
    settings: Settings,
    logbook: Logbook,
    *,
    on_ready: OnReady | None = None,
    load_anew: LoadAnew | None = None,
) -> int:
    """``serve`` on an event loop of its own, uvloop where there is one."""
    try:
        import uvloop

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    except ImportError:
        runner = asyncio.Runner()
    with runner:
        return runner.run(serve(module, settings, logbook, on_ready=on_ready, load_anew=load_anew))
