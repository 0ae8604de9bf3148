"""The record of a run as a document: taken out of a database, kept in a repository, replayed against today's code."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec

from workflows.scripts.driver import Driver
from workflows.scripts.errors import DivergenceError
from workflows.scripts.history import History
from workflows.scripts.run import Run
from workflows.scripts.runner import ScriptRunner, chance_of
from workflows.scripts.tables import PointerStatus

FORMAT = 1


class RecordedPointer(msgspec.Struct, omit_defaults=True):
    """One row of ``execution_pointer``; see there."""

    id: int
    kind: str
    step_name: str
    status: PointerStatus
    created_no: int
    started_at: int
    done_no: int | None = None
    ended_at: int | None = None
    attempt: int = 1
    sleep_until: int | None = None
    event_name: str | None = None
    event_key: str | None = None
    ref: int | None = None
    predecessor_id: int | None = None
    data: str | None = None
    outcome: str | None = None
    error: str | None = None


class Record(msgspec.Struct):
    """One run of one script. ``chance`` is where its stream of chance begins, ``payload`` is JSON."""

    format: int
    workflow_type: str
    workflow_id: int
    entity_id: int | None
    correlation_id: str | None
    run: int
    began_at: int
    chance: int
    payload: msgspec.Raw
    pointers: list[RecordedPointer]
    owner: str | None = None
    parent_id: int | None = None


class Verdict(msgspec.Struct, frozen=True):
    """Whether a script does again what its record says; if not, the first event that differs and how."""

    event: int | None = None
    message: str | None = None

    @property
    def is_ok(self) -> bool:
        """Whether it does."""
        return self.event is None and self.message is None


def take_record(ctx: Any, row: Any, runner: ScriptRunner) -> Record:
    """The record of the current run of a script's workflow, whose row is ``row``."""
    state = msgspec.json.decode(row.state)
    pointers = [
        msgspec.convert(pointer, RecordedPointer, from_attributes=True)
        for pointer in ctx.db.execution_pointer.lookup(("workflow_id",), (row.id,))
        if pointer.run == row.run
    ]
    began_at = state.get("began_at")
    return Record(
        FORMAT,
        row.workflow_type,
        row.id,
        row.entity_id,
        row.correlation_id,
        row.run,
        row.created_at if began_at is None else began_at,
        chance_of(ctx, row.id, row.run),
        msgspec.Raw(msgspec.json.encode(state["input"])),
        pointers,
        row.owner,
        row.parent_id,
    )


def replay_record(runner: ScriptRunner, record: Record) -> Verdict:
    """Replay ``record`` against the script of ``runner``; nothing is changed anywhere."""
    driver = Driver(record.workflow_id, record.run)
    run = Run(runner, driver, lambda: Random(record.chance))
    run.entity_id, run.correlation_id = record.entity_id, record.correlation_id
    run.owner, run.parent_id = record.owner, record.parent_id
    try:
        runner.set_off(driver, run, runner.read_input(record.payload), record.began_at)
        driver.replay(History(record.pointers))
    except DivergenceError as error:
        return Verdict(error.event, str(error))
    finally:
        driver.close()
    return Verdict()
