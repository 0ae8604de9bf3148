"""The commands that ask a running server one thing over HTTP."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from reactor.cli import settling
from reactor.cli.doors import database_path
from reactor.cli.exits import USAGE
from reactor.cli.failures import CliError
from reactor.cli.output import Format, chosen, is_terminal, ndjson, print_bytes, print_json, table
from reactor.cli.target import Target, Wanted, resolve
from reactor.logbook import shown


def _target(server: str | None, database: str | None, token: str | None, data_dir: Path | None) -> Target:
    return resolve(Wanted(server, database, token, data_dir), os.environ)


def _parsed(text: str, what: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise CliError(
            USAGE, f"{what} is not JSON: {error}; a text needs quotes of its own, as in '\"text\"'"
        ) from None


# -- sql -------------------------------------------------------------------------------------------


def sql_command(
    query: Annotated[str, typer.Argument(help="A SELECT in SQLite's dialect.")],
    params: Annotated[str | None, typer.Option(help="Parameters: a JSON array, or an object by name.")] = None,
    format: Annotated[Format | None, typer.Option(help="Default: table on a terminal, json in a pipe.")] = None,
    server: settling.Server = None,
    database: settling.Database = None,
    token: settling.Token = None,
    data_dir: settling.DataDir = None,
) -> None:
    """Query the tables with SQL: reactor sql "SELECT COUNT(*) FROM monster"."""
    asked = {"sql": query, "params": None if params is None else _parsed(params, "--params")}
    target = _target(server, database, token, data_dir)
    as_ = chosen(format)
    headers = {
        "Content-Type": "application/json",
        "Accept": "text/csv" if as_ is Format.CSV else "application/json",
    }
    answer = target.door.ask("POST", database_path(target.database, "sql"), orjson.dumps(asked), headers)
    if as_ is Format.CSV:
        print_bytes(answer.body)
        return
    result = answer.json()
    if as_ is Format.JSON:
        print_bytes(ndjson(result["columns"], result["rows"]))
    else:
        print_bytes(table(result["columns"], result["rows"], result["elapsed_us"]).encode())


# -- call ------------------------------------------------------------------------------------------


def call_command(
    reducer: Annotated[str, typer.Argument(help="Name of the reducer.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            help="One JSON array or object of all arguments, or each argument as JSON.", metavar="[JSON]..."
        ),
    ] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key: sent twice, it runs once.")] = None,
    server: settling.Server = None,
    database: settling.Database = None,
    token: settling.Token = None,
    data_dir: settling.DataDir = None,
) -> None:
    """Run a reducer and print what it returns: reactor call hit 7 5, or reactor call hit '{"monster_id":7}'."""
    body = orjson.dumps(call_arguments(arguments or []))
    target = _target(server, database, token, data_dir)
    headers = {"Content-Type": "application/json"}
    if key is not None:
        headers["Idempotency-Key"] = key
    answer = target.door.ask("POST", database_path(target.database, "call", reducer), body, headers)
    print_json(answer.json()["ok"])


def call_arguments(given: list[str]) -> list[Any] | dict[str, Any]:
    """All arguments of a call: one array or object stands for all, else each is a value of its own."""
    values = [_parsed(text, f"argument {text!r}") for text in given]
    if len(values) == 1 and isinstance(values[0], list | dict):
        whole: list[Any] | dict[str, Any] = values[0]
        return whole
    return values


# -- logs ------------------------------------------------------------------------------------------


def logs_command(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines as they come.")] = False,
    num_lines: Annotated[int, typer.Option("--num-lines", "-n", min=0, help="How many lines of the past.")] = 100,
    json: Annotated[bool | None, typer.Option("--json/--text", help="Default: text on a terminal, else JSON.")] = None,
    server: settling.Server = None,
    database: settling.Database = None,
    token: settling.Token = None,
    data_dir: settling.DataDir = None,
) -> None:
    """Print the server's log; for the owner of the database."""
    target = _target(server, database, token, data_dir)
    path = f"{database_path(target.database, 'logs')}?num_lines={num_lines}" + ("&follow=true" if follow else "")
    as_json = not is_terminal() if json is None else json
    try:
        for line in _lines(target, path, follow):
            print_bytes(line if as_json else shown(orjson.loads(line)).encode() + b"\n")
    except KeyboardInterrupt:
        if not follow:
            raise


def _lines(target: Target, path: str, follow: bool) -> Iterator[bytes]:
    if follow:
        yield from target.door.lines(path)
    else:
        yield from target.door.ask("GET", path).body.splitlines(keepends=True)


# -- describe and version --------------------------------------------------------------------------


def describe_command(
    json: Annotated[bool | None, typer.Option("--json/--text", help="Default: text on a terminal, else JSON.")] = None,
    server: settling.Server = None,
    database: settling.Database = None,
    token: settling.Token = None,
    data_dir: settling.DataDir = None,
) -> None:
    """Show the tables, reducers and views of a database."""
    target = _target(server, database, token, data_dir)
    described = target.door.ask("GET", database_path(target.database, "schema")).json()
    if not is_terminal() if json is None else json:
        print_json(described)
    else:
        print_bytes("\n".join(_described(described)).encode() + b"\n")


def _described(described: dict[str, Any]) -> Iterator[str]:
    for shown_table in described["tables"]:
        kind = "public" if shown_table["public"] else "private"
        scheduled = f", runs {shown_table['scheduled']}" if shown_table.get("scheduled") else ""
        yield f"table {shown_table['name']} ({kind}{scheduled})"
        key = shown_table["primary_key"]
        yield table(["column", "type", ""], [_column(column, key) for column in shown_table["columns"]])
    yield table(["reducer", "arguments", "for", "what it does"], map(_callable, described["reducers"]))
    if described.get("reports"):
        yield table(["report", "arguments", "for", "what it tells"], map(_callable, described["reports"]))
    if described["views"]:
        yield table(["view", "sql"], [[view["name"], " ".join(view["sql"].split())] for view in described["views"]])


def _callable(shown: dict[str, Any]) -> list[str]:
    """A reducer or a report."""
    arguments = (f"{p['name']}: {p['type']}" + ("" if p["required"] else " = …") for p in shown["params"])
    return [shown["name"], ", ".join(arguments), shown["access"], shown["docs"].partition("\n")[0]]


def _column(column: dict[str, Any], key: str) -> list[str]:
    kind = column["type"] + (" or null" if column["optional"] else "")
    notes = ["primary key"] if column["name"] == key else []
    if "values" in column:
        notes.append("one of " + ", ".join(column["values"]))
    if "default" in column:
        notes.append(f"default {orjson.dumps(column['default']).decode()}")
    return [column["name"], kind, "; ".join(notes)]


def version_command() -> None:
    """Print the version of the program, of its protocol and of its data format."""
    import platform
    import sqlite3

    from reactor import __version__
    from reactor.storage.api import FORMAT_VERSION
    from reactor.wire.native import PROTOCOL

    print(f"reactor {__version__} (protocol {PROTOCOL}, data format {FORMAT_VERSION})")
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}")
