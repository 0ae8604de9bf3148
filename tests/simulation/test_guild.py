"""Fresh seeds of the workflow engine in every run; a failing one is printed with the command that replays it."""

from __future__ import annotations

import os
import secrets

import pytest

from tests.simulation.guild import Guild, GuildFlaw
from tests.simulation.machine import Violation

SEEDS = int(os.environ.get("GUILD_SEEDS", "64"))
CHUNKS = 8
FLAW_SEEDS_MAX = 80

# Seeds that found a defect once; they stay.
REMEMBERED = {
    122817561198535: "who had joined another's workflow was told its id as their last one after its removal",
}


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_fresh_seeds(chunk: int) -> None:
    """B30-B49, B70-B73, C16, C26-C28, D75, E15-E24, REQ-7, REQ-12, F1-F8: whatever is asked and wherever it ends."""
    crashes = sum(Guild(secrets.randbits(48)).run().crashes for _ in range(SEEDS // CHUNKS))
    assert crashes > SEEDS // CHUNKS, "every run cuts the power at least once"


@pytest.mark.parametrize("seed", REMEMBERED)
def test_remembered_seeds(seed: int) -> None:
    """Seeds that failed once."""
    Guild(seed).run()


@pytest.mark.parametrize("flaw", GuildFlaw)
def test_planted_flaws_are_found(flaw: GuildFlaw) -> None:
    """The negative controls: an engine broken on purpose does not get through."""
    with pytest.raises(Violation, match=r"replay: python -m tests\.simulation guild \d+ --flaw"):
        for _ in range(FLAW_SEEDS_MAX):
            Guild(secrets.randbits(48), flaw).run()


def test_a_run_does_something() -> None:
    """Among a few seeds each kind of effect shows, so that the checks have something to look at."""
    runs = [Guild(seed).run() for seed in range(12)]
    tables = ["taken", "delivered", "updated", "greeted", "announced", "chimed", "execution_error", "event"]
    tables += ["workflow_signal_id", "task_attempt", "workflow_request", "schedule_run", "workflow_group_operation"]
    for name in tables:
        assert any(run.table(name).rows for run in runs), name
    kinds = {event.kind for run in runs for event in run.table("schedule_event")}
    assert kinds >= {"fired", "missed", "skipped", "triggered", "backfill", "paused", "resumed", "deleted"}
    told = [told.answer for run in runs for client in run.clients for list_ in client.told.values() for told in list_]
    outcomes = {answer["outcome"] for answer in told if isinstance(answer, dict) and "outcome" in answer}
    assert outcomes >= {"started", "existing", "delayed", "queued", "replaced", "completed", "stored", "duplicate"}


def test_a_seed_repeats_its_run() -> None:
    """REQ-3: the same seed does the same thing, down to every row."""
    first, second = Guild(4711).run(), Guild(4711).run()
    assert first.history == second.history and first.engine.seq == second.engine.seq
    for table in first.engine.store:
        other = second.table(table.name).rows
        assert {k: repr(v) for k, v in table.rows.items()} == {k: repr(v) for k, v in other.items()}, table.name
