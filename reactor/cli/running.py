"""``reactor run``: serve a module until told to stop."""

from __future__ import annotations

import contextlib
import enum
import functools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from reactor.cli.exits import FAILED, OK, SERVER, USAGE
from reactor.cli.failures import CliError
from reactor.cli.target import data_directory
from reactor.errors import ReactorError
from reactor.limits import DEFAULT_LIMITS
from reactor.logbook import Line, Logbook, standard_error

if TYPE_CHECKING:
    from reactor.module import Module
    from reactor.server.service import LoadAnew, Service, Settings

DEFAULT_LISTEN = "127.0.0.1:3000"


class DurabilityChoice(enum.StrEnum):
    """When a call counts as done."""

    FULL = "full"
    RELAXED = "relaxed"


def run_command(
    module_dir: Annotated[Path, typer.Argument(help="Directory with a module.py, or a .py file.", metavar="MODULE")],
    listen: Annotated[
        str, typer.Option(help="Address to serve on; port 0 lets the system choose.", metavar="HOST:PORT")
    ] = DEFAULT_LISTEN,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Where the data lie; else $REACTOR_DATA_DIR, else ./data/NAME.", metavar="DIR"),
    ] = None,
    in_memory: Annotated[bool, typer.Option("--in-memory", help="Keep nothing: all is lost at the end.")] = False,
    durability: Annotated[
        DurabilityChoice, typer.Option(help="relaxed answers before the disk has it: a power cut may lose seconds.")
    ] = DurabilityChoice.FULL,
    recover: Annotated[
        bool, typer.Option("--recover/--no-recover", help="Without recovery nothing runs; the data can be looked at.")
    ] = True,
    json_logs: Annotated[bool, typer.Option("--json-logs", help="Log lines and the ready line as JSON.")] = False,
) -> int:
    """Serve a module: its tables, reducers, timers and subscriptions. SIGTERM and Ctrl-C stop it in good order, SIGHUP
    loads the module anew."""
    if in_memory and data_dir is not None:
        raise CliError(USAGE, "--in-memory and --data-dir exclude each other")
    if not _is_address(listen):
        raise CliError(USAGE, f"--listen is HOST:PORT, such as {DEFAULT_LISTEN}, not {listen!r}")
    # The server's parts are imported here: no other command needs them.
    from reactor.loading import load_anew, load_module
    from reactor.server.service import Settings

    try:
        module = load_module(module_dir)
        directory = None if in_memory else data_directory(data_dir, os.environ, module.name)
        settings = Settings(directory, durability.value, listen, recover)
        return _serve(module, settings, json_logs, functools.partial(load_anew, module_dir))
    except ReactorError as error:
        raise CliError.of(error) from error


def _is_address(listen: str) -> bool:
    host, colon, port = listen.rpartition(":")
    return bool(colon) and port.isascii() and port.isdigit() and int(port) <= 65_535 and " " not in host


def _serve(module: Module, settings: Settings, json_logs: bool, load_anew: LoadAnew) -> int:
    from reactor.server.serving import LOST, run

    logbook = Logbook(DEFAULT_LIMITS.log_lines_max, None if json_logs else standard_error())
    if json_logs:
        logbook.follow(_print_json_line)
    lost: list[str] = []

    def ready(service: Service, address: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody wants to know
            print(_ready_line(service, address, json_logs), flush=True)

    status = run(module, settings, logbook, on_ready=ready, load_anew=load_anew)
    if status == LOST:
        lost = [line["message"] for line in logbook.tail(20) if line["level"] == "error"]
        raise CliError(SERVER, lost[-1] if lost else "the storage is gone, so the reactor stopped")
    return OK if status == 0 else FAILED


def _print_json_line(line: Line) -> None:
    sys.stderr.buffer.write(orjson.dumps(line) + b"\n")
    sys.stderr.buffer.flush()


def _ready_line(service: Service, address: str, as_json: bool) -> str:
    host = service.host
    directory = service.settings.directory and service.settings.directory.absolute()
    if as_json:
        ready = {
            "ready": {
                "url": f"http://{address}",
                "database": host.database,
                "data_dir": None if directory is None else str(directory),
                "durability": host.durability,
                "pid": os.getpid(),
            }
        }
        return orjson.dumps(ready).decode()
    where = "in memory only" if directory is None else f"data in {directory}, durability {host.durability}"
    return f"{host.database} is ready at http://{address} ({where})"
