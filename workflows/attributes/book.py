"""Setting, changing and finding attributes and tags, as part of a running call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reactor.context import Context
from reactor.errors import SenderError
from workflows.attributes.values import (
    ATTRIBUTES_MAX,
    RESERVED_PREFIX,
    TAGS_MAX,
    Declared,
    bad,
    check_name,
    check_tag,
    loaded,
    stored,
)

_NONE: Declared = {}

# -- changing -------------------------------------------------------------------------------------


def set_attributes(ctx: Context, workflow_id: int, changes: Mapping[str, Any], declared: Declared = _NONE) -> None:
    """Give a workflow attributes; a value of None takes one away. ``SenderError`` ``bad_arguments``: nothing changed.

    Names that begin with ``$`` are refused; ``mark`` sets these.
    """
    for name, value in changes.items():
        check_name(name)
        if value is not None:
            stored(name, value, declared)
    table = ctx.db.workflow_attribute
    before = {row.name for row in table.lookup(("workflow_id",), (workflow_id,))}
    count = sum(not name.startswith(RESERVED_PREFIX) for name in before)
    count += sum((value is not None) - (name in before) for name, value in changes.items())
    # As many as before are let through: they may have been more when there was no bound.
    if count > ATTRIBUTES_MAX and any(v is not None and name not in before for name, v in changes.items()):
        raise bad(f"workflow {workflow_id} would have {count} attributes; {ATTRIBUTES_MAX} are allowed")
    for name, value in changes.items():
        _put(ctx, workflow_id, name, value, declared)


def mark(ctx: Context, workflow_id: int, name: str, value: Any) -> None:
    """Set or take away an attribute of the engine's own, whose name begins with ``$``. Clients cannot change it."""
    _put(ctx, workflow_id, name, value, _NONE)


def _put(ctx: Context, workflow_id: int, name: str, value: Any, declared: Declared) -> None:
    table = ctx.db.workflow_attribute
    row = table.first(workflow_id=workflow_id, name=name)
    if value is None:
        if row is not None:
            table.delete(row.id)
        return
    kind, text = stored(name, value, declared)
    if row is None:
        table.insert(workflow_id=workflow_id, name=name, kind=kind, value=text)
    elif (row.kind, row.value) != (kind, text):
        table.update(row.id, kind=kind, value=text)


def change_tags(ctx: Context, workflow_id: int, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
    """Give a workflow tags and take others away. ``SenderError`` ``bad_arguments``: nothing is changed."""
    table = ctx.db.workflow_tag
    adding, removing = dict.fromkeys(map(check_tag, add)), dict.fromkeys(map(check_tag, remove))
    both = adding.keys() & removing.keys()
    if both:
        raise bad(f"{', '.join(sorted(both))} cannot be added and removed at once", "tags")
    held = {row.tag: row.id for row in table.lookup(("workflow_id",), (workflow_id,))}
    new = [tag for tag in adding if tag not in held]
    count = len(held.keys() - removing.keys()) + len(new)
    if new and count > TAGS_MAX:
        raise bad(f"workflow {workflow_id} would have {count} tags; {TAGS_MAX} are allowed", "tags")
    for tag in removing:
        if tag in held:
            table.delete(held[tag])
    for tag in new:
        table.insert(workflow_id=workflow_id, tag=tag)


def set_tags(ctx: Context, workflow_id: int, tags: Iterable[str]) -> None:
    """Give a workflow these tags and no others."""
    wanted = list(tags)
    change_tags(ctx, workflow_id, wanted, [tag for tag in tags_of(ctx, workflow_id) if tag not in wanted])


def forget(ctx: Context, workflow_id: int) -> None:
    """Remove all that a workflow has of either."""
    for table in (ctx.db.workflow_attribute, ctx.db.workflow_tag):
        if table.rows:
            for row in table.lookup(("workflow_id",), (workflow_id,)):
                table.delete(row.id)


# -- reading --------------------------------------------------------------------------------------


def attributes_of(ctx: Context, workflow_id: int) -> dict[str, Any]:
    """The attributes of a workflow by name, the engine's own among them."""
    rows = ctx.db.workflow_attribute.lookup(("workflow_id",), (workflow_id,))
    return {row.name: loaded(row.kind, row.value) for row in sorted(rows, key=lambda row: row.name)}


def tags_of(ctx: Context, workflow_id: int) -> list[str]:
    """The tags of a workflow, in alphabetical order."""
    return sorted(row.tag for row in ctx.db.workflow_tag.lookup(("workflow_id",), (workflow_id,)))


def with_attribute(ctx: Context, name: str, value: Any, declared: Declared = _NONE) -> list[int]:
    """The ids of the workflows whose attribute has this value, in no particular order; uses an index."""
    kind, text = _wanted(ctx, name, value, declared)
    rows = ctx.db.workflow_attribute.lookup(("name", "value"), (name, text))
    return [row.workflow_id for row in rows if row.kind == kind]


def has_attribute(ctx: Context, workflow_id: int, name: str, value: Any, declared: Declared = _NONE) -> bool:
    """Whether a workflow has this attribute with this value."""
    row = ctx.db.workflow_attribute.first(workflow_id=workflow_id, name=name)
    return row is not None and (row.kind, row.value) == _wanted(ctx, name, value, declared)


def _wanted(ctx: Context, name: str, value: Any, declared: Declared) -> tuple[str, str]:
    return stored(name, value, declared or ctx.workflows.attribute_kinds)


def with_tag(ctx: Context, tag: str) -> list[int]:
    """The ids of the workflows that have this tag; uses an index."""
    return [row.workflow_id for row in ctx.db.workflow_tag.lookup(("tag",), (tag,))]


def has_tag(ctx: Context, workflow_id: int, tag: str) -> bool:
    """Whether a workflow has this tag."""
    return bool(ctx.db.workflow_tag.lookup(("workflow_id", "tag"), (workflow_id, tag)))


def require(ctx: Context, workflow_id: int) -> Any:
    """The row of a workflow, live or ended; ``SenderError`` ``unknown_workflow``."""
    row = ctx.db.workflow.get(workflow_id)
    if row is None:
        raise SenderError("unknown_workflow", f"there is no workflow {workflow_id}", workflow_id=workflow_id)
    return row
