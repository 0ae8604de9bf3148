"""``reactor reload`` and ``reactor type``: another version of a module, and the end of a workflow type."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from reactor.cli import settling
from reactor.cli.doors import database_path
from reactor.cli.exits import FAILED, TIMEOUT
from reactor.cli.failures import CliError
from reactor.cli.output import is_terminal, print_bytes, print_json, table
from reactor.cli.target import Target, Wanted, resolve

_POLL_S = 0.5

type_app = typer.Typer(
    help="Give up a workflow type in steps: retire, wait until none lives, verify, drop its code.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

AsJson = Annotated[bool | None, typer.Option("--json/--text", help="Default: text on a terminal, else JSON.")]
Name = Annotated[str, typer.Argument(help="Name of the workflow type.", metavar="TYPE")]


def _target(server: str | None, database: str | None, token: str | None, data_dir: Path | None) -> Target:
    return resolve(Wanted(server, database, token, data_dir), os.environ)


def reload_command(
    json: AsJson = None,
    server: settling.Server = None,
    database: settling.Database = None,
    token: settling.Token = None,
    data_dir: settling.DataDir = None,
) -> None:
    """Have a server load its module anew, without a restart; for the owner. If anything is wrong, nothing changes."""
    target = _target(server, database, token, data_dir)
    done = target.door.ask("POST", database_path(target.database, "reload")).json()["ok"]
    if not is_terminal() if json is None else json:
        print_json(done)
        return
    print(f"{done['module']} was loaded anew; the swap took {done['pause_us'] / 1000:.1f} ms")
    for word in ("added", "removed"):
        if done[f"reducers_{word}"]:
            print(f"reducers {word}: {', '.join(done[f'reducers_{word}'])}")


# -- types -----------------------------------------------------------------------------------------


def _call(target: Target, reducer: str, *arguments: Any) -> Any:
    headers = {"Content-Type": "application/json"}
    path = database_path(target.database, "call", reducer)
    return target.door.ask("POST", path, orjson.dumps(arguments), headers).json()["ok"]


def _show(statuses: list[dict[str, Any]], json: bool | None) -> None:
    if not is_terminal() if json is None else json:
        for status in statuses:
            print_json(status)
        return
    columns = ["type", "version", "registered", "retired", "live", "oldest", "may be dropped"]
    rows = [
        [s["workflow_type"], s["state_version"], _yes(s["is_registered"]), _yes(s["retired_at"] is not None), s["live"],
         s["oldest_id"], _yes(s["may_be_dropped"])]
        for s in statuses
    ]  # fmt: skip
    print_bytes(table(columns, rows).encode())


def _yes(value: bool) -> str:
    return "yes" if value else "no"


@type_app.command("retire")
def retire_command(
    name: Name,
    reason: Annotated[str | None, typer.Option(help="Told to whoever tries to start one.")] = None,
    wait: Annotated[
        float | None,
        typer.Option(help="Wait so long for the last of them to end.", min=0.0, metavar="SECONDS"),
    ] = None,
    json: AsJson = None,
    server: settling.Server = None,
    database: settling.Database = None,
    token: settling.Token = None,
    data_dir: settling.DataDir = None,
) -> None:
    """Let no more workflows of a type be started; those that live go on to their ends."""
    target = _target(server, database, token, data_dir)
    status = _call(target, "workflow_type_retire", name, reason)
    until = time.monotonic() + (wait or 0.0)
    while wait is not None and status["live"] and time.monotonic() < until:
        time.sleep(min(_POLL_S, max(0.0, until - time.monotonic())))
        status = _call(target, "workflow_type_status", name)[0]
    _show([status], json)
    if wait is not None and status["live"]:
        raise CliError(TIMEOUT, f"{status['live']} workflows of {name} still live; they go on to their ends")


@type_app.command("restore")
def restore_command(
    name: Name,
    json: AsJson = None,
    server: settling.Server = None,
    database: settling.Database = None,
    token: settling.Token = None,
    data_dir: settling.DataDir = None,
) -> None:
    """Let workflows of a retired type be started again."""
    target = _target(server, database, token, data_dir)
    _show([_call(target, "workflow_type_restore", name)], json)


@type_app.command("status")
def status_command(
    name: Annotated[str | None, typer.Argument(help="Name of the type; all unless given.", metavar="[TYPE]")] = None,
    json: AsJson = None,
    server: settling.Server = None,
    database: settling.Database = None,
    token: settling.Token = None,
    data_dir: settling.DataDir = None,
) -> None:
    """Show how many workflows of a type live, and whether it is retired."""
    _show(_call(_target(server, database, token, data_dir), "workflow_type_status", name), json)


@type_app.command("verify")
def verify_command(
    name: Name,
    json: AsJson = None,
    server: settling.Server = None,
    database: settling.Database = None,
    token: settling.Token = None,
    data_dir: settling.DataDir = None,
) -> None:
    """Find out whether the code of a type may go: exit code 0 if it is retired and none of its workflows live."""
    (status,) = _call(_target(server, database, token, data_dir), "workflow_type_status", name)
    _show([status], json)
    if status["retired_at"] is None:
        raise CliError(FAILED, f"{name} is not retired: run `reactor type retire {name}` first")
    if status["live"]:
        raise CliError(FAILED, f"{status['live']} workflows of {name} live; the oldest is {status['oldest_id']}")
