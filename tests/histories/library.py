"""Reading, writing and replaying the records beside this file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from examples.samples import make_samples
from reactor.testing import Rig
from tests.workflows.scripts.test_samples import PLAYS
from workflows.scripts.record import Record, take_record

FOLDER = Path(__file__).parent


def records() -> dict[str, Record]:
    """All records, by the name of their file."""
    return {path.stem: msgspec.json.decode(path.read_bytes(), type=Record) for path in sorted(FOLDER.glob("*.json"))}


def write_missing() -> list[Path]:
    """Play the samples that have no record, and keep theirs; returns the new files."""
    written = []
    for name in PLAYS:
        path = FOLDER / f"{name.replace(' ', '-')}.json"
        if not path.exists():
            path.write_text(json.dumps(json.loads(msgspec.json.encode(play(name))), indent=1) + "\n")
            written.append(path)
    return written


def play(name: str) -> Record:
    """The record of one sample, after its last act."""
    kind, payload, acts, _, _ = PLAYS[name]
    with Rig(make_samples()) as rig:
        started = rig.call("workflow_start", kind, 7, "the one", payload)
        for act in acts:
            act(rig, started)
        return rig.run(lambda ctx: _take(ctx, rig, started))  # type: ignore[no-any-return]


def _take(ctx: Any, rig: Rig, workflow_id: int) -> Record:
    row = ctx.db.workflow.require(workflow_id)
    engine: Any = rig.module.includes[0]
    return take_record(ctx, row, engine.registry.require(row.workflow_type).handler)
