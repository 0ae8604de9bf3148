"""A deploy changes what a signal carries: what of that concerns workflows that were started before."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from reactor import SenderError
from reactor.testing import Rig
from workflows import Handler, NoPayload, Payload, Signal, Workflow, WorkflowEngine


class Hit(Payload):
    damage: int


class Place(msgspec.Struct):
    x: int


class HardHit(Payload):
    damage: int
    kind: str = "blunt"
    at: Place | None = None


class TargetState(msgspec.Struct):
    told: list[Any] = []


class Target(Handler[TargetState]):
    name = "target"
    keeps_contract = True
    signals = {"hit": Hit, "heal": NoPayload}

    def on_start(self, w: Workflow[TargetState], payload: NoPayload) -> None:
        w.step = "stands"

    def on_signal(self, w: Workflow[TargetState], signal: Signal) -> None:
        w.state.told.append([signal.name, msgspec.to_builtins(signal.payload)])


class Target2(Target):
    signals = {"hit": HardHit, "push": NoPayload}


class Lenient(Target2):
    keeps_contract = False


class Wider(Target):
    class Payload3(Payload):
        damage: int | str

    signals = {"hit": Payload3, "heal": NoPayload}


def deploy(rig: Rig, kind: type[Handler[Any]]) -> None:
    rig.crash()
    rig.reopen(WorkflowEngine([kind]))


def refusal(rig: Rig, *args: Any) -> SenderError:
    before = rig.row("workflow", args[0])
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_signal", *args)
    assert rig.row("workflow", args[0]) is before
    return caught.value


def test_an_old_workflow_keeps_its_contract() -> None:
    """D75: what it is sent must be what both declarations take; new workflows have the new one, also later."""
    with Rig(WorkflowEngine([Target])) as rig:
        old = rig.start("target")
        deploy(rig, Target2)
        new = rig.start("target")
        deploy(rig, Target2)
        assert [(row.first_id > old, row.first_id <= new) for row in rig.rows("workflow_contract")] == [
            (False, True), (True, True),
        ]  # fmt: skip
        rig.call("workflow_signal", old, "hit", {"damage": 1})
        rig.call("workflow_signal", new, "hit", {"damage": 2, "kind": "sharp", "at": {"x": 1}})
        rig.call("workflow_signal", new, "push")
        told = refusal(rig, old, "hit", {"damage": 1, "kind": "sharp"})
        assert (told.code, "hit.kind is not known" in told.message) == ("bad_arguments", True)
        assert refusal(rig, old, "push").code == "unknown_signal"
        assert refusal(rig, old, "heal").code == "unknown_signal"


def test_what_was_narrower_stays_narrow() -> None:
    """D75: a field that takes more now takes what it took for old workflows."""
    with Rig(WorkflowEngine([Target])) as rig:
        old = rig.start("target")
        deploy(rig, Wider)
        rig.call("workflow_signal", old, "hit", {"damage": 1})
        assert "hit.damage is no integer" in refusal(rig, old, "hit", {"damage": "much"}).message
        rig.call("workflow_signal", rig.start("target"), "hit", {"damage": "much"})


def test_without_it_the_declaration_of_today_decides() -> None:
    """D75: the change is written down and logged all the same."""
    with Rig(WorkflowEngine([Target])) as rig:
        old = rig.start("target")
        deploy(rig, Lenient)
        rig.call("workflow_signal", old, "hit", {"damage": 1, "kind": "sharp"})
        changes = rig.rows("workflow_contract")[-1].changes
        assert "signals.heal is gone" in changes
        assert "signals.push is new" in changes
        assert any(changes in line for _, _, line in rig.logs)


def test_nothing_is_written_while_nothing_changes() -> None:
    """D75: one row of each type, however often it is started."""
    with Rig(WorkflowEngine([Target])) as rig:
        for _ in range(3):
            deploy(rig, Target)
        assert len(rig.rows("workflow_contract")) == 1
