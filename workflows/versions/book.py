"""The book of definitions: what each type was, kept up at every start and reload."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reactor.context import Context
from workflows.definition import Definition
from workflows.versions.fingerprint import declared_by, differences, fingerprint_of


def note_definitions(ctx: Context, kinds: Iterable[Definition]) -> set[str]:
    """Write down what the types are now, and log what has become different; returns the types that have.

    A type that is new, gone or back counts as different, and so does one with workflows that could not go on: its
    functions may have been mended. Retired types are marked, so that they are not started.
    """
    table, seen = ctx.db.workflow_definition, set()
    changed = {row.workflow_type for row in ctx.db.recovery_error}
    for kind in kinds:
        seen.add(kind.name)
        if _note(ctx, kind):
            changed.add(kind.name)
    for row in list(table):
        if row.is_registered and row.workflow_type not in seen:
            table.update(row.workflow_type, is_registered=False)
            changed.add(row.workflow_type)
            ctx.log(f"workflow type {row.workflow_type} is not registered any more", "warning")
    return changed


def _note(ctx: Context, kind: Definition) -> bool:
    """Write down one type; whether it is different."""
    table, declared, can = ctx.db.workflow_definition, declared_by(kind), kind.migrations
    now = {
        "state_version": kind.state_version,
        "reads_from": can.lowest,
        "reads_to": can.highest,
        "fingerprint": fingerprint_of(declared),
        "is_registered": True,
    }
    known = table.get(kind.name)
    if known is None:
        table.insert(
            workflow_type=kind.name, declared=declared, first_seen_at=ctx.now, changed_at=ctx.now, last_seen_at=ctx.now,
            **now,
        )  # fmt: skip
        return True
    kind.may_be_retired = kind.may_be_retired or known.retired_at is not None
    if all(getattr(known, name) == value for name, value in now.items()):
        table.update(kind.name, last_seen_at=max(ctx.now, known.last_seen_at))
        return False
    _tell(ctx, kind, known, declared, now["fingerprint"])
    table.update(kind.name, declared=declared, changed_at=ctx.now, last_seen_at=ctx.now, **now)
    return True


def _tell(ctx: Context, kind: Definition, known: Any, declared: dict[str, Any], fingerprint: Any) -> None:
    told = []
    if known.state_version != kind.state_version:
        told.append(f"its states were of version {known.state_version} and are of version {kind.state_version}")
    if known.fingerprint != fingerprint:
        told += differences(known.declared, declared)
    if not known.is_registered:
        told.append("it is registered again")
    level = "info"
    if known.state_version == kind.state_version and known.declared["state"] != declared["state"]:
        told.append(f"its state has changed under version {kind.state_version}: states stored before may not be read")
        level = "warning"
    if told:
        ctx.log(f"workflow type {kind.name} has changed: {'; '.join(told)}", level)
