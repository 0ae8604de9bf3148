"""``reactor workflows``: lists of workflows and how many there are of each kind."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from reactor.cli import settling
from reactor.cli.doors import database_path
from reactor.cli.exits import USAGE
from reactor.cli.failures import CliError
from reactor.cli.output import is_terminal, ndjson, print_bytes, print_json, table
from reactor.cli.target import Wanted, resolve

workflows_app = typer.Typer(
    help="Lists of workflows, and counts.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)

_COLUMNS = ("id", "name", "workflow_type", "status", "current_step", "entity_id", "correlation_id", "created_at")
_OPERATORS = {">=": "gte", "<=": "lte", ">": "gt", "<": "lt"}

Texts = list[str] | None
Numbers = list[int] | None

Status = Annotated[Texts, typer.Option(help="Status; may be given several times, as may most of these.")]
Type = Annotated[Texts, typer.Option(help="Workflow type.")]
Name = Annotated[Texts, typer.Option(help="Name.")]
NamePrefix = Annotated[str | None, typer.Option(help="How names begin: 3 characters or more.")]
EntityId = Annotated[Numbers, typer.Option(help="Entity.")]
CorrelationId = Annotated[Texts, typer.Option(help="Correlation id.")]
ParentId = Annotated[Numbers, typer.Option(help="Parent workflow.")]
RootId = Annotated[Numbers, typer.Option(help="That workflow and all its descendants.")]
Schedule = Annotated[Texts, typer.Option(help="Name of the schedule that started it.")]
Failure = Annotated[Texts, typer.Option("--failure-category", help="Kind of failure.")]
Tag = Annotated[Texts, typer.Option(help="Tag; all that are given must be there.")]
Attribute = Annotated[Texts, typer.Option(help="Search attribute.", metavar="NAME=VALUE")]
Created = Annotated[Texts, typer.Option(help="Bound in µs: '>=1767225600000000', or with >, <, <=.", metavar="BOUND")]
Updated = Annotated[Texts, typer.Option(help="Bound of the last change.", metavar="BOUND")]
Deadline = Annotated[Texts, typer.Option(help="Bound of the deadline.", metavar="BOUND")]
Json = Annotated[bool | None, typer.Option("--json/--text", help="Default: text on a terminal, else JSON.")]


@workflows_app.command("list")
def list_command(
    status: Status = None,
    type: Type = None,
    name: Name = None,
    name_prefix: NamePrefix = None,
    entity_id: EntityId = None,
    correlation_id: CorrelationId = None,
    parent_id: ParentId = None,
    root_id: RootId = None,
    schedule: Schedule = None,
    failure: Failure = None,
    tag: Tag = None,
    attribute: Attribute = None,
    created: Created = None,
    updated: Updated = None,
    deadline: Deadline = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="Workflows to print.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    json: Json = None,
    server: settling.Server = None,
    database: settling.Database = None,
    token: settling.Token = None,
    data_dir: settling.DataDir = None,
) -> None:
    """List workflows, newest first: a table, or one JSON object a line."""
    pairs = [*_filter(locals()), ("limit", str(limit))]
    if cursor is not None:
        pairs.append(("cursor", cursor))
    page = _ask(Wanted(server, database, token, data_dir), ("workflows",), pairs)
    if not is_terminal() if json is None else json:
        items = page["items"]
        print_bytes(b"".join(ndjson(list(item), [list(item.values())]) for item in items))
        if page["cursor"] is not None:
            print(f"reactor: there are more; the next page: --cursor {page['cursor']}", file=sys.stderr)
    else:
        print_bytes(table(_COLUMNS, [[item[column] for column in _COLUMNS] for item in page["items"]]).encode())
        more = "" if page["cursor"] is None else f"; the next page: --cursor {page['cursor']}"
        print(f"({len(page['items'])} of {page['total']} workflows{'' if page['used_index'] else ', by scan'}{more})")


@workflows_app.command("aggregate")
def aggregate_command(
    by: Annotated[str, typer.Option(help="status, type, failure_category, tag, or attribute:NAME.")],
    status: Status = None,
    type: Type = None,
    name: Name = None,
    name_prefix: NamePrefix = None,
    entity_id: EntityId = None,
    correlation_id: CorrelationId = None,
    parent_id: ParentId = None,
    root_id: RootId = None,
    schedule: Schedule = None,
    failure: Failure = None,
    tag: Tag = None,
    attribute: Attribute = None,
    created: Created = None,
    updated: Updated = None,
    deadline: Deadline = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="Groups to print.")] = 100,
    json: Json = None,
    server: settling.Server = None,
    database: settling.Database = None,
    token: settling.Token = None,
    data_dir: settling.DataDir = None,
) -> None:
    """Count workflows by one dimension, most first: a table, or the answer as JSON."""
    pairs = [*_filter(locals()), ("by", by), ("limit", str(limit))]
    counted = _ask(Wanted(server, database, token, data_dir), ("workflows", "aggregate"), pairs)
    if not is_terminal() if json is None else json:
        print_json(counted)
    else:
        print_bytes(table((by, "workflows"), [[g["key"], g["count"]] for g in counted["groups"]]).encode())
        cut = ", there are more groups" if counted["truncated"] else ""
        print(f"({counted['total']} workflows{'' if counted['used_index'] else ', by scan'}{cut})")


def _ask(wanted: Wanted, path: tuple[str, ...], pairs: list[tuple[str, str]]) -> Any:
    target = resolve(wanted, os.environ)
    return target.door.ask("GET", f"{database_path(target.database, *path)}?{urlencode(pairs)}").json()["ok"]


_SAME = (
    "status", "type", "name", "entity_id", "correlation_id", "parent_id", "root_id", "schedule", "tag",
)  # fmt: skip


def _filter(options: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The options of a command as the parameters of a URL."""
    for option in _SAME:
        for value in options[option] or ():
            yield option, str(value)
    if options["name_prefix"] is not None:
        yield "name_prefix", options["name_prefix"]
    for value in options["failure"] or ():
        yield "failure_category", value
    for given in options["attribute"] or ():
        name, equals, value = given.partition("=")
        if not equals or not name:
            raise CliError(USAGE, f"--attribute is NAME=VALUE, not {given!r}")
        yield f"attribute.{name}", value
    for option in ("created", "updated", "deadline"):
        for given in options[option] or ():
            sign = next((sign for sign in _OPERATORS if given.startswith(sign)), None)
            if sign is None:
                raise CliError(USAGE, f"--{option} begins with >, >=, < or <=, as in '>=1767225600000000'")
            yield f"{option}.{_OPERATORS[sign]}", given.removeprefix(sign)
