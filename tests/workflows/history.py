"""What must hold of the course of workflows: read from the log, commit by commit, whatever was done to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from workflows.life import LIFE, TERMINAL, Status

COMMITS_MAX = 5_000
"""Of longer courses the beginning is read."""

Row = dict[str, Any]


def _reachable(status: Status) -> set[Status]:
    """Where the steps of one commit may bring a workflow."""
    found, ahead = {status}, [status]
    while ahead:
        for after in LIFE[ahead.pop()].values():
            if after not in found:
                found.add(after)
                ahead.append(after)
    return found


REACHABLE = {status: _reachable(status) for status in Status}


def commits(log: Any, tables: Mapping[int, Any]) -> Iterator[tuple[int, str, list[tuple[str, Any, Row | None]]]]:
    """Every commit as (seq, reducer, changes): of each change the table, the key, and the row after it."""
    for record in log.records_after(0):
        for seq, _, reducer, _, _, flat in msgspec.msgpack.decode(record.payload):
            changes: list[tuple[str, Any, Row | None]] = []
            for number, content in zip(flat[::2], flat[1::2], strict=True):
                table = tables[abs(number)]
                names = table.schema.column_names
                if number < 0:
                    changes.append((table.name, content, None))
                elif len(names) == len(content):
                    row = dict(zip(names, content, strict=True))
                    changes.append((table.name, content[table.schema.key_position], row))
            yield seq, reducer, changes


def assert_course(engine: Any, log: Any) -> None:
    """F3, F6, A43, A85, C19: ends are final, statuses follow the table, due times stay, numbers and times only rise."""
    if log.trimmed_to:
        return
    tables = {table.number: table for table in engine.store}
    held: dict[tuple[str, Any], Row] = {}
    for count, (seq, reducer, changes) in enumerate(commits(log, tables)):
        if count == COMMITS_MAX:
            return
        tables_changed = {name for name, _, _ in changes}
        for name, key, row in changes:
            before = held.get((name, key))
            if reducer == "rig":
                # A test that writes to the tables itself knows what it does.
                pass
            elif name == "workflow" and "workflow_lineage" in tables_changed and _is_another(before, row):
                pass
            elif name == "workflow":
                _workflow(f"commit {seq} ({reducer}), workflow {key}", before, row)
            elif name == "workflow_timer" and before is not None and row is not None:
                _timer(f"commit {seq} ({reducer}), timer {key}", before, row)
            if row is None:
                held.pop((name, key), None)
            else:
                held[name, key] = row


def _is_another(before: Row | None, row: Row | None) -> bool:
    """B42: whether a workflow that had ended has given its id to a new one; the commit says so in another table."""
    return before is not None and row is not None and Status(before["status"]) in TERMINAL and row["sequence"] == 1


def _workflow(where: str, before: Row | None, row: Row | None) -> None:
    if before is None:
        return
    was = Status(before["status"])
    if row is None:
        assert was in TERMINAL, f"{where}: removed while it was {was}"
        return
    now = Status(row["status"])
    assert now in REACHABLE[was], f"{where}: from {was} to {now}"
    if was in TERMINAL:
        kept = ("status", "result", "sequence", "state", "current_step", "run", "ended_at")
        changed = [name for name in kept if before[name] != row[name]]
        assert not changed, f"{where}: {changed} changed after its end"
    assert row["sequence"] >= before["sequence"], f"{where}: its sequence fell"
    assert row["run"] >= before["run"], f"{where}: its run fell"
    assert row["updated_at"] >= before["updated_at"], f"{where}: it was changed before it was changed"
    assert row["created_at"] == before["created_at"], f"{where}: it was created twice"


def _timer(where: str, before: Row, row: Row) -> None:
    if row["generation"] != before["generation"]:
        assert row["generation"] > before["generation"], f"{where}: its generation fell"
        return
    moved = row["scheduled_at"] - before["scheduled_at"]
    if moved:
        interval = row["interval"]
        assert interval and moved > 0 and moved % interval == 0, f"{where}: its due time moved by {moved} µs"
