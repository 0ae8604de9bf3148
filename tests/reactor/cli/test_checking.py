"""``reactor check``: three verdicts, each with its exit code, and nothing changed to find out. B64, D82."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import orjson
import pytest

from reactor import Module, Refusal, primary_key
from reactor.checking import Finding, Report, Verdict
from reactor.cli.checking import check
from reactor.cli.failures import CliError
from reactor.datadir import hold_directory
from reactor.testing import Rig
from tests.reactor.cli.terminal import Terminal
from tests.workflows.samples import Counter, CounterState, Nap
from tests.workflows.versions.deploys import Beating, Mended, One, StateOne, Stuck, Three, Two, deploy
from workflows import Handler, NoPayload, Workflow


class Quiet(Beating, Handler[StateOne]):
    """Version 1 with one signal less."""

    signals = {"leave": NoPayload}

    def born(self, hp: int) -> StateOne:
        """A state."""
        return StateOne(hp)


class Deaf(Handler[CounterState]):
    """A counter that takes none of its signals any more, but another."""

    name = "counter"
    signals = {"other": NoPayload}

    def on_start(self, w: Workflow[CounterState], payload: NoPayload) -> None: ...

    def on_other(self, w: Workflow[CounterState], payload: NoPayload) -> None: ...


@pytest.fixture(params=["stopped", "killed"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The data of two workflows of version 1, the second with a state that version 3 can make nothing of."""
    directory = tmp_path / "data"
    directory.mkdir()
    rig = Rig(deploy(One), directory=directory)
    rig.start("npc", payload={"hp": 80})
    rig.start("npc", payload={"hp": -5})
    if request.param == "stopped":
        rig.stop()
    else:
        rig.crash()
    return directory


def prints(directory: Path) -> dict[str, str]:
    """What the files hold."""
    files = [path for path in directory.iterdir() if path.suffix == ".db" or path.name.endswith("-wal")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def finding(report: Report, subject: str) -> Finding:
    """The one about that subject."""
    (found,) = [each for each in report.findings if each.subject == subject]
    return found


def test_safe(data: Path) -> None:
    """The version that wrote the data goes on with them; the files are as they were."""
    before = prints(data)
    report = check(deploy(One), data)
    assert report.verdict is Verdict.SAFE and report.seq > 0
    found = finding(report, "type npc")
    assert (found.details["live"], found.details["versions"], found.details["tried"]) == (2, {"1": 2}, 2)
    assert prints(data) == before


def test_needs_migration(data: Path) -> None:
    """All can be brought to the version of the code, and were, for a trial."""
    found = finding(check(deploy(Mended), data), "type npc")
    assert found.verdict is Verdict.NEEDS_MIGRATION
    assert (found.details["to_migrate"], found.details["failed"]) == (2, 0)
    assert "state.share is new" in found.details["changes"]
    assert check(deploy(Two), data).verdict is Verdict.NEEDS_MIGRATION


def test_a_trial_finds_what_would_be_parked(data: Path) -> None:
    """A migration that fails on stored data; with a shorter trial it is not found."""
    found = finding(check(deploy(Three), data), "type npc")
    assert found.verdict is Verdict.UNSAFE and found.details["failed"] == 1
    assert found.details["samples"] == [
        {"id": 2, "state_version": 1, "message": "migrations[2] (version 2 to 3) of npc raised ValueError: hp is -5"}
    ]
    short = check(deploy(Three), data, trial=1)
    assert short.verdict is Verdict.NEEDS_MIGRATION
    assert finding(short, "type npc").details["tried"] == 1
    assert finding(check(deploy(Three), data, trial=0), "type npc").details["tried"] == 0


def test_no_path_is_unsafe(data: Path) -> None:
    """Stored versions that the code cannot read, counted."""
    found = finding(check(deploy(Stuck), data), "type npc")
    assert found.verdict is Verdict.UNSAFE and found.details["no_path"] == {"1": 2}
    assert "no way to version 3 from version 1" in found.message


def test_missing_types(data: Path) -> None:
    """The start would be refused, unless the type is named as skipped."""
    report = check(deploy(Nap), data)
    assert report.verdict is Verdict.UNSAFE
    assert finding(report, "start").details["code"] == "unregistered_types"
    assert finding(report, "type npc").details["live"] == 2
    assert check(deploy(Nap, skip_types=["npc"]), data).verdict is Verdict.SAFE


def test_signals_that_are_gone(data: Path, tmp_path: Path) -> None:
    """Told; unsafe only where nothing else would wake the workflow."""
    found = finding(check(deploy(Quiet), data), "type npc")
    assert found.verdict is Verdict.SAFE and found.details["signals_removed"] == {"hurt": 2}
    directory = tmp_path / "counting"
    directory.mkdir()
    rig = Rig(deploy(Counter), directory=directory)
    rig.start("counter")
    rig.stop()
    found = finding(check(deploy(Deaf), directory), "type counter")
    assert found.verdict is Verdict.UNSAFE and found.details["stranded"] == 1


def test_tables(data: Path) -> None:
    """Additions are taken over by a start; what does not fit is a conflict."""
    module = deploy(One)
    module.table(name="more")(type("More", (), {"__annotations__": {"id": int}, "id": primary_key()}))
    report = check(module, data)
    assert report.verdict is Verdict.SAFE
    assert finding(report, "tables").details == {"changes": ["table more is new"]}
    bare = Module("game")
    report = check(bare, data)
    assert report.verdict is Verdict.UNSAFE
    assert "table workflow is gone" in finding(report, "tables").message


def test_checks_of_the_game_are_asked(data: Path) -> None:
    """Whatever would stop a start is told, also a check that is broken."""
    module = deploy(One)

    @module.before_start
    def no(engine: Any) -> None:
        raise Refusal("module_failed", "not with these data")

    module.before_start(lambda engine: 1 / 0)
    report = check(module, data)
    assert [f.message for f in report.findings if f.subject == "start"] == [
        "not with these data",
        "a check of the module failed: ZeroDivisionError: division by zero",
    ]


def test_more_can_be_asked_of_a_type(data: Path) -> None:
    """Parts of the engine add what they know of a type, such as scripts that no longer replay."""
    from workflows import WorkflowEngine
    from workflows.versions.part import Versions

    engine = WorkflowEngine([One])
    seen: list[Any] = []

    def diverges(loaded: Any, kind: Any, rows: Any, trial: Any) -> list[Finding]:
        seen.append((kind.name, len(rows), trial))
        return [Finding(Verdict.UNSAFE, f"script {kind.name}", "it diverges")]

    engine.part(Versions).checks.append(diverges)
    report = check(Module("game", includes=[engine]), data, 5)
    assert seen == [("npc", 2, 5)] and report.verdict is Verdict.UNSAFE


def test_data_in_use(data: Path) -> None:
    """A server, or another check, has them."""
    held = hold_directory(data, now_us=0, listen="127.0.0.1:1")
    try:
        with pytest.raises(Refusal) as refusal:
            check(deploy(One), data)
        assert refusal.value.code == "data_in_use"
    finally:
        held.release()
    assert check(deploy(One), data).verdict is Verdict.SAFE


def test_no_data(tmp_path: Path) -> None:
    """Nothing is made where nothing is."""
    with pytest.raises(CliError, match="holds no data"):
        check(deploy(One), tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


# -- the command -----------------------------------------------------------------------------------

MODULE = """
from tests.workflows.versions.deploys import {kind}, deploy

module = deploy({kind})
"""


@pytest.mark.parametrize(
    ("kind", "status", "verdict"),
    [("One", 0, "safe"), ("Mended", 9, "needs_migration"), ("Three", 10, "unsafe")],
)
def test_verdicts_and_exit_codes(terminal: Terminal, data: Path, kind: str, status: int, verdict: str) -> None:
    """B64, D82: JSON in a pipe with keys that only grow in number, a table for people."""
    file = data.parent / "module.py"
    file.write_text(MODULE.format(kind=kind))
    done = terminal.run("check", str(file), "--data-dir", str(data))
    assert (done.status, done.err) == (status, "")
    told = orjson.loads(done.out)
    assert told["verdict"] == verdict
    assert {"verdict", "module", "seq", "findings"} <= told.keys()
    assert {"verdict", "subject", "message", "details"} <= told["findings"][0].keys()
    wanted = {
        "workflow_type", "is_registered", "is_retired", "live", "versions", "state_version", "reads_from", "reads_to",
        "to_migrate", "no_path", "tried", "failed", "samples", "signals_removed", "stranded", "changes",
    }  # fmt: skip
    assert wanted <= told["findings"][0]["details"].keys()
    text = terminal.run("check", str(file), "--data-dir", str(data), "--text")
    assert text.status == status
    assert text.out.splitlines()[-1] == f"game at commit {told['seq']}: {verdict}"
    assert "type npc" in text.out
    assert ("workflow 2: migrations[2]" in text.out) == (kind == "Three")


def test_the_command_says_what_is_wrong(terminal: Terminal, data: Path) -> None:
    """A module that cannot be loaded, data that are not there."""
    assert terminal.run("check", "nothing.py", "--data-dir", str(data)).status == 1
    file = data.parent / "module.py"
    file.write_text(MODULE.format(kind="One"))
    gone = terminal.run("check", str(file), "--data-dir", str(data / "gone"))
    assert gone.status == 2 and "holds no data" in gone.err
