"""What `reactor check` tells of scripts: whether the records of those that live still replay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from reactor.checking import Finding, Verdict
from workflows.definition import Definition
from workflows.scripts.record import replay_record, take_record
from workflows.scripts.runner import ScriptRunner

SAMPLES_MAX = 20


def check_scripts(engine: Any, kind: Definition, rows: Sequence[Any], trial: int | None) -> Iterator[Finding]:
    """One finding for a script type with live workflows; ``trial`` bounds how many are replayed, None replays all."""
    runner = kind.handler
    # Those that have not begun have no record yet.
    begun = [row for row in rows if row.state != "null"][:trial]
    if not isinstance(runner, ScriptRunner) or not begun:
        return
    ctx, failed = engine.look(), 0
    samples: list[dict[str, Any]] = []
    for row in begun:
        verdict = replay_record(runner, take_record(ctx, row, runner))
        if not verdict.is_ok:
            failed += 1
            if len(samples) < SAMPLES_MAX:
                samples.append({"workflow_id": row.id, "event": verdict.event, "message": verdict.message})
    details = {"workflow_type": kind.name, "replayed": len(begun), "diverged": failed, "samples": samples}
    if not failed:
        yield Finding(Verdict.SAFE, f"script {kind.name}", f"{len(begun)} records replay", details)
        return
    text = f"{failed} of {len(begun)} records do not replay; the first: {samples[0]['message']}"
    yield Finding(Verdict.UNSAFE, f"script {kind.name}", text, details)
