"""`reactor check` replays the records of scripts that live."""

from __future__ import annotations

from pathlib import Path

from reactor.assembly import compose
from reactor.checking import Verdict, check_data
from reactor.module import Module
from reactor.storage import open_store
from reactor.testing import Rig
from tests.workflows.scripts.test_course import guard_changed, guard_new, guard_old
from workflows import Script, WorkflowEngine


def verdict_of(changed: type[Script], directory: Path) -> tuple[Verdict, str]:
    """What is found about the scripts of the type, with other code over the same data."""
    program = compose(Module("guards", includes=[WorkflowEngine([changed])]))
    opened = open_store(directory, list(program.tables.values()), now_us=0, new_history_id="0" * 32)
    try:
        (found,) = [each for each in check_data(program, opened, None) if each.subject == "script guard"]
        return found.verdict, found.message
    finally:
        opened.release()


def test_scripts_that_no_longer_replay_are_found(tmp_path: Path) -> None:
    """B64, C28: the old code and one with a version marker are safe, a changed order is not; the event is named."""
    with Rig(Module("guards", includes=[WorkflowEngine([guard_old])]), directory=tmp_path) as rig:
        for _ in range(3):
            rig.call("workflow_start", "guard")
        rig.stop()
    assert verdict_of(guard_old, tmp_path) == (Verdict.SAFE, "3 records replay")
    assert verdict_of(guard_new, tmp_path)[0] is Verdict.SAFE
    verdict, message = verdict_of(guard_changed, tmp_path)
    assert verdict is Verdict.UNSAFE
    assert message.startswith("3 of 3 records do not replay") and "event 1: recorded is sleep 'walk'" in message
