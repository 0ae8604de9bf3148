"""Workflows put into the table as they are, and the naive answer to every filter."""

from __future__ import annotations

from typing import Any

from reactor.limits import DEFAULT_LIMITS, Limits
from reactor.testing import Rig
from workflows import WorkflowEngine
from workflows.attributes import book
from workflows.life import Status

KINDS = {"zone": int, "fee": float, "faction": str, "elite": bool}


def make_rig(limits: Limits = DEFAULT_LIMITS, **options: Any) -> Rig:
    """A rig whose engine has a few declared attributes, and recovers nothing: rows are put there as tests like."""
    return Rig(WorkflowEngine(attributes=KINDS, recover=False, **options), limits=limits)


def put(rig: Rig, **columns: Any) -> int:
    """A workflow row as it is, with ``attributes`` and ``tags``."""
    attributes, tags = columns.pop("attributes", {}), columns.pop("tags", [])

    def insert(ctx: Any) -> int:
        at = columns.get("created_at", ctx.now)
        defaults = {
            "workflow_type": "buff", "entity_id": None, "correlation_id": None, "status": Status.SUSPENDED,
            "current_step": "waiting", "state": "null", "created_at": at, "updated_at": at,
        }  # fmt: skip
        id = ctx.db.workflow.reserve_id()
        row = ctx.db.workflow.insert(**{**defaults, "id": id, "name": f"wf-{id}", **columns})
        book.set_attributes(ctx, row.id, attributes, ctx.workflows.attribute_kinds)
        book.change_tags(ctx, row.id, tags)
        return int(row.id)

    return int(rig.run(insert))


def distrust(rig: Rig) -> None:
    """As if the index had no mark."""
    rig.engine.trusted = frozenset()


def pages(rig: Rig, wanted: dict[str, Any], limit: int = 1_000) -> list[int]:
    """The ids of all pages of a list."""
    ids: list[int] = []
    cursor = None
    while True:
        page = rig.call("workflow_list", wanted, limit, 0, cursor)
        ids += [item["id"] for item in page["items"]]
        cursor = page["cursor"]
        if cursor is None:
            return ids


def naive(rig: Rig, wanted: dict[str, Any]) -> list[int]:
    """What a filter means, in the plainest words."""
    rows = sorted(rig.rows("workflow"), key=lambda row: (-row.created_at, row.id))
    return [row.id for row in rows if all(_holds(rig, row, part, value) for part, value in wanted.items())]


def _holds(rig: Rig, row: Any, part: str, value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    if part in ("created", "updated", "deadline"):
        at = row.deadline if part == "deadline" else getattr(row, f"{part}_at")
        tests = {"gt": lambda b: at > b, "gte": lambda b: at >= b, "lt": lambda b: at < b, "lte": lambda b: at <= b}
        return at is not None and all(tests[op](bound) for op, bound in value.items())
    if part == "name_prefix":
        return bool(row.name.startswith(value))
    if part == "tag":
        tags = {tag.tag for tag in rig.rows("workflow_tag") if tag.workflow_id == row.id}
        return tags >= set(values)
    if part == "attributes":
        mine = rig.run(lambda ctx: attributes_of(ctx, row.id))
        return all(_is_one(mine.get(name), wanted) for name, wanted in value.items())
    if part == "root_id":
        return row.root_id in values or row.id in values
    column = {"type": "workflow_type"}.get(part, part)
    return getattr(row, column) in values


def attributes_of(ctx: Any, workflow_id: int) -> dict[str, Any]:
    """The attributes of a workflow."""
    return book.attributes_of(ctx, workflow_id)


def _is_one(mine: Any, wanted: Any) -> bool:
    # True is no 1 here, though Python says so.
    values = wanted if isinstance(wanted, list) else [wanted]
    return any(mine == value and isinstance(mine, bool) == isinstance(value, bool) for value in values)
