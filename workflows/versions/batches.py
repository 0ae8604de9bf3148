"""Bringing stored states to the version of the code before their workflows take a step, a bounded number at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from typing import Any

from reactor.columns import INT64_MAX
from reactor.context import Context
from reactor.errors import SenderError
from workflows.audit import record
from workflows.definition import Definition
from workflows.life import is_live
from workflows.versions.migrations import StateError

BATCH_MAX = 10_000
SAMPLES_MAX = 20


def migrate_some(ctx: Context, kind: Definition, limit: int, after: int, audit: bool) -> dict[str, Any]:
    """Bring up to ``limit`` live workflows with ids above ``after`` to the type's version.

    Returns ``{"migrated", "failed", "samples", "last_id", "more"}``: those that cannot be brought are left as they are,
    counted, and the first of them named with the reason. ``last_id`` is where to go on.
    """
    _check(limit)
    if not 0 <= after <= INT64_MAX:
        raise SenderError("bad_arguments", f"parameter after: an id, or 0, not {after}", parameter="after")
    migrated, failed, last_id = 0, 0, after
    samples: list[dict[str, Any]] = []
    rows = _others(ctx, kind, after)
    for row in rows:
        if migrated + failed == limit:
            return _told(migrated, failed, samples, last_id, True)
        last_id = row.id
        try:
            bring(ctx, kind, row, audit)
            migrated += 1
        except StateError as error:
            failed += 1
            add_sample(samples, row, error)
    return _told(migrated, failed, samples, last_id, False)


def add_sample(samples: list[dict[str, Any]], row: Any, error: StateError) -> None:
    """Name a workflow whose state cannot be read, with the reason, among the first that are named."""
    if len(samples) < SAMPLES_MAX:
        samples.append({"id": row.id, "state_version": row.state_version, "message": str(error)})


def _told(migrated: int, failed: int, samples: list[dict[str, Any]], last_id: int, more: bool) -> dict[str, Any]:
    return {"migrated": migrated, "failed": failed, "samples": samples, "last_id": last_id, "more": more}


def bring(ctx: Context, kind: Definition, row: Any, audit: bool) -> None:
    """Rewrite one row in the type's version. That is no step: nothing of its handler runs, and it does not count on."""
    state = kind.encode_state(kind.read_state(row))
    ctx.db.workflow.update(row.id, state=state, state_version=kind.state_version)
    if audit:
        detail = f"version {row.state_version} to {kind.state_version}"
        record(ctx, row.id, row.sequence, "migrated", "migrate", row, row.status, row.current_step, detail)


def count_versions(ctx: Context, kind: Definition, limit: int) -> dict[str, Any]:
    """What ``migrate_some`` would do, without doing it: live workflows by stored version, and up to ``limit`` tried."""
    _check(limit)
    versions: Counter[str] = Counter()
    tried, failed = 0, 0
    samples: list[dict[str, Any]] = []
    for row in _live(ctx, kind, 0):
        versions[str(row.state_version)] += 1
        if row.state_version == kind.state_version or tried == limit:
            continue
        tried += 1
        try:
            kind.read_state(row)
        except StateError as error:
            failed += 1
            add_sample(samples, row, error)
    waiting = sum(count for version, count in versions.items() if version != str(kind.state_version))
    return {
        "state_version": kind.state_version,
        "versions": dict(sorted(versions.items(), key=lambda pair: int(pair[0]))),
        "to_migrate": waiting,
        "tried": tried,
        "failed": failed,
        "samples": samples,
    }


def _check(limit: int) -> None:
    if not 1 <= limit <= BATCH_MAX:
        raise SenderError("bad_arguments", f"parameter limit: 1 to {BATCH_MAX}, not {limit}", parameter="limit")


def _others(ctx: Context, kind: Definition, after: int) -> Iterator[Any]:
    return (row for row in _live(ctx, kind, after) if row.state_version != kind.state_version)


def _live(ctx: Context, kind: Definition, after: int) -> Iterator[Any]:
    workflow: Any = ctx.db.workflow
    (by_type,) = (index for index in workflow.index_list if index.columns == ("workflow_type",))
    ids = sorted(by_type.find(kind.name))
    # By the index itself: `lookup` would make a list of all rows for each batch.
    for workflow_id in ids[bisect_right(ids, after) :]:
        row = workflow.rows[workflow_id]
        if is_live(row.status):
            yield row
