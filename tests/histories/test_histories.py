"""Every record that was ever kept replays against today's code; a changed script is caught where it first differs."""

from __future__ import annotations

from typing import Any

import pytest

from examples.samples import TYPES
from tests.histories.library import records
from tests.workflows.scripts.test_samples import PLAYS
from workflows import Payload, seconds
from workflows.registry import Registry
from workflows.scripts import Run, script
from workflows.scripts.record import replay_record
from workflows.scripts.runner import ScriptRunner

RECORDS = records()
REGISTRY = Registry(TYPES)


def runner(registry: Registry, name: str) -> ScriptRunner:
    """What runs the scripts of a type."""
    found = registry.require(name).handler
    assert isinstance(found, ScriptRunner)
    return found


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_a_record_replays(name: str) -> None:
    """C28, D64: what the script does is what it did."""
    record = RECORDS[name]
    verdict = replay_record(runner(REGISTRY, record.workflow_type), record)
    assert verdict.is_ok, verdict.message


def test_there_is_a_record_of_every_sample() -> None:
    """None is missing; ``python -m tests.histories`` writes those of new samples."""
    assert {name.replace(" ", "-") for name in PLAYS} <= set(RECORDS)


class CountdownStart(Payload):
    """As in the sample."""

    count: int = 3


async def hasty(w: Run, start: CountdownStart) -> str:
    """The countdown, with the sleep before the note."""
    for _ in range(start.count, 0, -1):
        await w.sleep(seconds(1), name="tick")
        await w.step(str, name="note")
    return "liftoff"


async def renamed(w: Run, start: CountdownStart) -> str:
    """The countdown, with another name for its second tick."""
    for number in range(start.count, 0, -1):
        await w.step(str, name="note")
        await w.sleep(seconds(1), name="tick" if number == start.count else "tock")
    await w.step(str, name="note")
    return "liftoff"


async def brief(w: Run, start: CountdownStart) -> str:
    """The countdown, without its end."""
    for _ in range(start.count, 0, -1):
        await w.step(str, name="note")
        await w.sleep(seconds(1), name="tick")
    return "liftoff"


@pytest.mark.parametrize(
    ("changed", "event", "words"),
    [
        (hasty, 1, "recorded is step 'note', but the script asks for sleep 'tick'"),
        (renamed, 5, "recorded is sleep 'tick', but the script asks for sleep 'tock'"),
        (brief, 7, "recorded is step 'note', but the script has come to its end"),
    ],
)
def test_a_changed_script_is_caught(changed: Any, event: int, words: str) -> None:
    """C28, D64: the verdict names the first event that differs, what was recorded and what is asked."""
    registry = Registry([script(name="countdown", clock="wall")(changed)])
    verdict = replay_record(runner(registry, "countdown"), RECORDS["countdown"])
    assert verdict.event == event and words in (verdict.message or "")
