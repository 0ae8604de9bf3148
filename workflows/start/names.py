"""Names: unique, given by the caller or counted for the type, and as good as an id wherever one is asked for."""

from __future__ import annotations

import re
from typing import Any

from reactor.context import Context
from reactor.errors import ConstraintError, SenderError
from workflows.life import is_live

NAME_CHARS_MAX = 128
_NAME = re.compile(r"(?=.*[A-Za-z_])[A-Za-z0-9][A-Za-z0-9_.:/-]*\Z")


def check_name(name: str) -> str:
    """The name if a caller may give it; ``SenderError`` ``bad_arguments`` otherwise."""
    if not 0 < len(name) <= NAME_CHARS_MAX or not _NAME.match(name):
        raise SenderError(
            "bad_arguments",
            f"parameter name: {name[:NAME_CHARS_MAX]!r} is no workflow name; it has 1 to {NAME_CHARS_MAX} of the "
            "letters a-z and A-Z, digits and _ . : / -, begins with a letter or digit and is not a number",
            parameter="name",
        )
    return name


def next_name(ctx: Context, workflow_type: str) -> str:
    """The type's next default name. The count is part of the call: a start that is undone leaves no gap."""
    sequence = ctx.db.definition_sequence
    counted = sequence.get(workflow_type)
    last = 1 if counted is None else counted.last + 1
    if counted is None:
        sequence.insert(workflow_type=workflow_type, last=last)
    else:
        sequence.update(workflow_type, last=last)
    return f"{workflow_type}-{last}"


def insert_named(ctx: Context, workflow_type: str, name: str | None, columns: dict[str, Any]) -> Any:
    """Insert the row of a workflow under ``name``, or under the type's next default name that is free."""
    if name is not None:
        return ctx.db.workflow.insert(workflow_type=workflow_type, name=name, **columns)
    while True:
        try:
            # The insert looks the name up anyway; somebody has taken a default name about never.
            return ctx.db.workflow.insert(workflow_type=workflow_type, name=next_name(ctx, workflow_type), **columns)
        except ConstraintError as error:
            if error.code != "unique_violation" or error.details.get("column") != "name":
                raise


def with_name(ctx: Context, name: str) -> Any:
    """The row of that name, or None."""
    return ctx.db.workflow.first(name=name)


def find(ctx: Context, id_or_name: int | str) -> Any:
    """The row with that id or name, or None. A text of digits is an id: no name is a number."""
    if isinstance(id_or_name, int):
        return ctx.db.workflow.get(id_or_name)
    if id_or_name.isascii() and id_or_name.isdigit() and len(id_or_name) < 20:
        return ctx.db.workflow.get(int(id_or_name))
    return with_name(ctx, id_or_name)


def resolve(ctx: Context, id_or_name: int | str) -> int:
    """The id of the workflow with that id or name; ``SenderError`` ``unknown_workflow`` if no workflow has the name.

    An id is not looked up: whoever is given it does that.
    """
    if isinstance(id_or_name, int):
        return id_or_name
    row = find(ctx, id_or_name)
    if row is None:
        raise SenderError("unknown_workflow", f"there is no workflow {id_or_name!r}", workflow=id_or_name)
    found: int = row.id
    return found


def taken(row: Any, what: str) -> SenderError:
    """The error for an id or name that ``row`` has."""
    how = "take it over with reuse=start_new" if not is_live(row.status) else "it is live"
    return SenderError(
        "already_exists",
        f"workflow {row.id} ({row.name}, {row.status}) has that {what}; {how}, or choose another",
        workflow_id=row.id,
        name=row.name,
        status=str(row.status),
    )


def rename(ctx: Context, row: Any, name: str) -> str:
    """Give a workflow another name; ``SenderError`` ``bad_arguments`` or ``already_exists``. Returns the old one."""
    other = with_name(ctx, check_name(name))
    if other is not None and other.id != row.id:
        raise taken(other, "name")
    old: str = row.name
    ctx.db.workflow.update(row.id, name=name)
    return old


def count_on_from_ids(ctx: Context) -> None:
    """Where workflows were stored before there were names, let the counters begin after the ids they are named by."""
    sequence, highest = ctx.db.definition_sequence, dict[str, int]()
    if sequence.rows or not ctx.db.workflow.rows:
        return
    for row in ctx.db.workflow.rows.values():
        if row.name == f"{row.workflow_type}-{row.id}":
            highest[row.workflow_type] = max(highest.get(row.workflow_type, 0), row.id)
    for workflow_type in sorted(highest):
        sequence.insert(workflow_type=workflow_type, last=highest[workflow_type])


def name_by_id(row: dict[str, Any]) -> str:
    """The name of a workflow that was stored before there were names."""
    return f"{row['workflow_type']}-{row['id']}"
