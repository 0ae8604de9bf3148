"""Groups of workflows, and types that do something to whoever tells them something."""

from __future__ import annotations

from typing import Any

from reactor import SenderError
from reactor.budget import CallBudgetExceededError
from reactor.testing import Rig
from tests.workflows.samples import Add, Counter, DiceState
from workflows import Handler, NoPayload, Payload, Signal, Workflow
from workflows.scripts import Run, script

ALICE, BOB = "a" * 32, "b" * 32
RAID = {"correlation_id": "raid"}


def raid(rig: Rig, count: int, sender: str = ALICE, name: str = "counter") -> list[int]:
    """A group of workflows."""
    items = [{"type": name, "correlation_id": "raid", "entity_id": i} for i in range(count)]
    ids: list[int] = rig.call("workflow_start_batch", items, sender=sender)
    return ids


def add(rig: Rig, amount: int, *, sender: str = ALICE, request_id: str | None = None, results: str = "problems") -> Any:
    return rig.call("workflow_group", "signal", RAID, None, request_id, "", "add", amount, results, sender=sender)


def totals(rig: Rig, ids: list[int]) -> list[int]:
    states = [rig.row("workflow", workflow_id).state for workflow_id in ids]
    return [int(state.partition(":")[2].partition(",")[0]) for state in states]


class Word(Payload):
    word: str


class Words(DiceState):
    words: list[str] = []


class Noter(Handler[Words]):
    """Notes words in the order in which they come."""

    name = "noter"
    signals = {"note": Word}

    def on_start(self, w: Workflow[Words], payload: NoPayload) -> None:
        """Nothing to do."""

    def on_note(self, w: Workflow[Words], payload: Word) -> None:
        w.state.words.append(payload.word)


class Touchy(Counter):
    """Takes an amount, refuses it or breaks, by its entity."""

    name = "touchy"

    def on_add(self, w: Workflow[Any], payload: Add) -> None:
        w.state.total += payload.amount
        if w.entity_id == 1:
            raise SenderError("sender_error", "not now")
        if w.entity_id == 2:
            raise KeyError("a defect")


class Seen(DiceState):
    who: str | None = None
    timer: bool = True


class Witness(Handler[Seen]):
    """Notes who calls, and starts something of theirs."""

    name = "witness"
    signals = {"look": NoPayload}

    def on_start(self, w: Workflow[Seen], payload: NoPayload) -> None:
        """Nothing to do."""

    def on_signal(self, w: Workflow[Seen], signal: Signal) -> None:
        w.state = Seen(w.ctx.sender, w.ctx.timer is not None)
        w.workflows.start("nap", delay_us=1_000)


class Slow(Counter):
    """Always uses up the time of a call."""

    name = "slow"

    def on_add(self, w: Workflow[Any], payload: Add) -> None:
        raise CallBudgetExceededError


class Tired(Counter):
    """The third to be told is interrupted once, as those before it have taken long."""

    name = "tired"
    interrupted: list[int] = []

    def on_add(self, w: Workflow[Any], payload: Add) -> None:
        w.state.total += payload.amount
        if w.id == 3 and not self.interrupted:
            self.interrupted.append(w.id)
            raise CallBudgetExceededError


@script(signals={"add": Add})
async def listen(w: Run, payload: NoPayload) -> int:
    """Waits for one amount."""
    amount: int = (await w.signal("add")).amount
    return amount


class Stopper(Handler[DiceState]):
    """Stops the operation that tells it."""

    name = "stopper"
    signals = {"halt": NoPayload}

    def on_start(self, w: Workflow[DiceState], payload: NoPayload) -> None:
        """Nothing to do."""

    def on_signal(self, w: Workflow[DiceState], signal: Signal) -> None:
        if w.id == 2:
            engine = w.db
            (row,) = engine.workflow_group_operation
            for piece in engine.workflow_group_targets.where(operation_id=row.id):
                engine.workflow_group_targets.delete(piece.id)
            engine.workflow_group_operation.update(row.id, status="Cancelled", ended_at=w.now)
