"""What `reactor check` tells of workflows: which of those that live this code can take up, and which not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from reactor.checking import Finding, Verdict
from workflows.definition import Definition
from workflows.life import is_live
from workflows.registry import Registry
from workflows.versions.batches import add_sample
from workflows.versions.fingerprint import declared_by, differences
from workflows.versions.migrations import StateError

TypeCheck = Callable[[Any, Definition, Sequence[Any], "int | None"], Iterable[Finding]]
"""``check(engine, kind, live_rows, trial)``: more to be said of one type, such as whether its scripts still replay."""


def examine(
    engine: Any, registry: Registry, skip_types: Collection[str], checks: Sequence[TypeCheck], trial: int | None
) -> Iterator[Finding]:
    """One finding for each type that lives or is registered, and whatever ``checks`` add."""
    live: dict[str, list[Any]] = {}
    for row in engine.store.tables["workflow"].rows.values():
        if is_live(row.status):
            live.setdefault(row.workflow_type, []).append(row)
    known = engine.store.tables["workflow_definition"].rows
    for name in sorted({*live, *registry.names}):
        rows, kind = live.get(name, []), registry.get(name)
        if kind is None:
            yield _unregistered(name, rows, name in skip_types)
            continue
        yield _examined(engine, kind, rows, known.get(name), trial)
        for check in checks:
            yield from check(engine, kind, rows, trial)


def _unregistered(name: str, rows: list[Any], is_skipped: bool) -> Finding:
    details = {"workflow_type": name, "is_registered": False, "live": len(rows), "versions": _versions(rows)}
    if is_skipped:
        text = f"{len(rows)} live workflows stay parked: the type is named in skip_types"
        return Finding(Verdict.SAFE, f"type {name}", text, details)
    text = f"{len(rows)} live workflows belong to this type, and it is not registered: the start would be refused"
    return Finding(Verdict.UNSAFE, f"type {name}", text, details)


def _examined(engine: Any, kind: Definition, rows: list[Any], known: Any, trial: int | None) -> Finding:
    can = kind.migrations
    no_path = [row for row in rows if not can.reaches(row.state_version)]
    waiting = sum(1 for row in rows if row.state_version != kind.state_version) - len(no_path)
    tried, failed, samples = _tried(kind, rows, trial)
    lost, stranded = _signals(engine, kind, rows)
    details = {
        "workflow_type": kind.name,
        "is_registered": True,
        "is_retired": known is not None and known.retired_at is not None,
        "live": len(rows),
        "versions": _versions(rows),
        "state_version": kind.state_version,
        "reads_from": can.lowest,
        "reads_to": can.highest,
        "to_migrate": waiting,
        "no_path": _versions(no_path),
        "tried": tried,
        "failed": failed,
        "samples": samples,
        "signals_removed": lost,
        "stranded": stranded,
        "changes": [] if known is None else differences(known.declared, declared_by(kind)),
    }
    unsafe = bool(no_path or failed or stranded)
    verdict = Verdict.UNSAFE if unsafe else Verdict.NEEDS_MIGRATION if waiting else Verdict.SAFE
    return Finding(verdict, f"type {kind.name}", _said(kind, details), details)


def _said(kind: Definition, details: dict[str, Any]) -> str:
    """The details in a sentence or two."""
    said = [f"{details['live']} live"]
    if details["to_migrate"]:
        said.append(f"{details['to_migrate']} will be brought to version {kind.state_version}")
    if details["no_path"]:
        stored = ", ".join(details["no_path"])
        said.append(f"no way to version {kind.state_version} from version {stored}: those would be parked")
    if details["failed"]:
        said.append(f"{details['failed']} of {details['tried']} states that were tried cannot be read")
    for name, count in details["signals_removed"].items():
        said.append(f"signal {name} is gone, and {count} live workflows wait for it")
    if details["stranded"]:
        said.append(f"nothing would wake {details['stranded']} of them any more")
    if details["is_retired"]:
        said.append("retired")
    if details["changes"]:
        said.append(f"declared otherwise: {'; '.join(details['changes'])}")
    return "; ".join(said)


def _versions(rows: Iterable[Any]) -> dict[str, int]:
    counts = Counter(row.state_version for row in rows)
    return {str(version): counts[version] for version in sorted(counts)}


def _tried(kind: Definition, rows: list[Any], trial: int | None) -> tuple[int, int, list[dict[str, Any]]]:
    """Read states as a step would; how many were tried, how many failed, and the first of those."""
    readable = [row for row in rows if kind.migrations.reaches(row.state_version)][:trial]
    failed = 0
    samples: list[dict[str, Any]] = []
    for row in readable:
        try:
            kind.read_state(row)
        except StateError as error:
            failed += 1
            add_sample(samples, row, error)
    return len(readable), failed, samples


def _signals(engine: Any, kind: Definition, rows: list[Any]) -> tuple[dict[str, int], int]:
    """Signals that live workflows wait for and the type takes no more; and how many then wait for nothing at all."""
    if kind.stores_signals:
        # Whatever is sent is stored, and taken by name when it is waited for.
        return {}, 0
    lost: Counter[str] = Counter()
    stranded = 0
    for row in rows:
        names = row.waits.split(",") if row.waits else []
        gone = [name for name in names if name not in kind.signals]
        lost.update(gone)
        if gone and len(gone) == len(names) and not _has_timer(engine, row.id):
            stranded += 1
    return dict(sorted(lost.items())), stranded


def _has_timer(engine: Any, workflow_id: int) -> bool:
    timers = engine.store.tables["workflow_timer"].lookup(("workflow_id",), (workflow_id,))
    return any(not timer.cancelled or timer.held for timer in timers)
