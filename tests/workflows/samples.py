"""Small workflow types for tests, each with one trait."""

from __future__ import annotations

from typing import Any

import msgspec

from reactor import CatchUp, SenderError
from reactor.budget import CallBudgetExceededError
from workflows import ChildEnd, Handler, NoPayload, Payload, Signal, Timer, Workflow


class NapState(msgspec.Struct):
    slept: int = 0


class NapStart(Payload):
    delay_us: int


class Nap(Handler[NapState]):
    """Sleeps once and is done; takes no signals."""

    name = "nap"
    clock = "wall"

    def on_start(self, w: Workflow[NapState], payload: NapStart) -> None:
        w.step = "asleep"
        w.timer("wake", after_us=payload.delay_us)

    def on_timer(self, w: Workflow[NapState], timer: Timer) -> None:
        w.state.slept += 1
        w.complete({"due_at": timer.due_at, "fired_at": timer.fired_at})

    def on_recover(self, w: Workflow[NapState]) -> None:
        if w.timer_due("wake") is None:
            w.timer("wake", after_us=0)


class CounterState(msgspec.Struct):
    total: int
    log: list[str] = []


class Add(Payload):
    amount: int
    note: str = ""


class Counter(Handler[CounterState]):
    """Waits for signals alone."""

    name = "counter"
    signals = {"add": Add, "finish": NoPayload, "reject": NoPayload, "crash": NoPayload, "grow": Add}

    def on_start(self, w: Workflow[CounterState], payload: NoPayload) -> None:
        w.step = "counting"
        w.state = CounterState(0)

    def on_add(self, w: Workflow[CounterState], payload: Add) -> None:
        w.state.total += payload.amount

    def on_finish(self, w: Workflow[CounterState], payload: NoPayload) -> None:
        w.complete(w.state.total)

    def on_reject(self, w: Workflow[CounterState], payload: NoPayload) -> None:
        w.state.total = -1
        raise SenderError("sender_error", "not now")

    def on_crash(self, w: Workflow[CounterState], payload: NoPayload) -> None:
        w.state.total = -1
        w.timer("never", after_us=1)
        raise KeyError("a defect")

    def on_grow(self, w: Workflow[CounterState], payload: Add) -> None:
        w.state.log = ["x" * payload.amount]


class TickerStart(Payload):
    interval_us: int
    catch_up: CatchUp = CatchUp.FIRE_ALL
    clock: str = "wall"


class TickerState(msgspec.Struct):
    ticks: list[list[int]] = []


class Ticker(Handler[TickerState]):
    """Notes due time, time of firing, lateness and missed count of every tick of an interval."""

    name = "ticker"
    signals = {"again": TickerStart, "quiet": NoPayload}

    def on_start(self, w: Workflow[TickerState], payload: TickerStart) -> None:
        self.on_again(w, payload)

    def on_again(self, w: Workflow[TickerState], payload: TickerStart) -> None:
        w.timer("tick", interval_us=payload.interval_us, catch_up=payload.catch_up, clock=payload.clock)

    def on_quiet(self, w: Workflow[TickerState], payload: NoPayload) -> None:
        w.cancel_timer("tick")

    def on_timer(self, w: Workflow[TickerState], timer: Timer) -> None:
        w.state.ticks.append([timer.due_at, timer.fired_at, timer.lateness_us, timer.missed])


class FaultyStart(Payload):
    where: str
    how: str = "defect"


class FaultyState(msgspec.Struct):
    where: str
    how: str


class Faulty(Handler[FaultyState]):
    """Fails where and how it is told: ``start``, ``timer``, ``signal``, ``cancel``; ``defect``, ``sender``, ``strand``,
    ``budget``."""

    name = "faulty"
    clock = "wall"

    def on_start(self, w: Workflow[FaultyState], payload: FaultyStart) -> None:
        w.state = FaultyState(payload.where, payload.how)
        w.timer("wake", after_us=1_000)
        w.timer("other", after_us=1_000_000)
        if payload.where == "start" and payload.how == "strand":
            w.cancel_timer("wake")
            w.cancel_timer("other")
        self._fail(w, "start")

    def on_timer(self, w: Workflow[FaultyState], timer: Timer) -> None:
        w.step = "half way"
        if w.state.how == "strand":
            w.cancel_timer("other")
        self._fail(w, "timer")

    def on_cancel(self, w: Workflow[FaultyState], reason: str) -> Any:
        w.step = "half way"
        self._fail(w, "cancel")
        return {"told": reason}

    @staticmethod
    def _fail(w: Workflow[FaultyState], where: str) -> None:
        if w.state.where != where:
            return
        if w.state.how == "sender":
            raise SenderError("sender_error", "refused by the handler")
        if w.state.how == "budget":
            raise CallBudgetExceededError
        if w.state.how == "defect":
            raise ZeroDivisionError("a defect")


class ParentStart(Payload):
    child: str = "nap"
    payload: Any = msgspec.field(default_factory=lambda: {"delay_us": 5_000})
    then: str = "wait"


class ParentState(msgspec.Struct):
    child_id: int
    ends: list[list[Any]] = []


class Parent(Handler[ParentState]):
    """Waits for a child, and for nothing else."""

    name = "parent"

    def on_start(self, w: Workflow[ParentState], payload: ParentStart) -> None:
        w.step = "waiting"
        w.state = ParentState(w.start_child(payload.child, payload=payload.payload, entity_id=w.entity_id))
        if payload.then == "fail":
            raise ValueError("a defect after the child was started")

    def on_child_end(self, w: Workflow[ParentState], child: ChildEnd) -> None:
        w.state.ends.append([child.id, str(child.status), child.result, child.error_message])
        w.complete({"child": child.id})


class PokeStart(Payload):
    peer: int | None = None


class Poke(Payload):
    peer: int
    times: int


class PokeState(msgspec.Struct):
    poked: int = 0


class Poker(Handler[PokeState]):
    """Signals another workflow from its own step, which may signal back."""

    name = "poker"
    signals = {"poke": Poke, "stop": NoPayload, "myself": Poke}

    def on_start(self, w: Workflow[PokeState], payload: PokeStart) -> None:
        """Nothing to do: its state has defaults only."""

    def on_signal(self, w: Workflow[PokeState], signal: Signal) -> None:
        if signal.name == "stop":
            w.workflows.cancel(w.id, "by itself")
            return
        w.state.poked += 1
        given = signal.payload
        if given.times > 0:
            peer = w.id if signal.name == "myself" else given.peer
            w.workflows.signal(peer, signal.name, Poke(peer=w.id, times=given.times - 1))


class DiceState(msgspec.Struct):
    pass


class Dice(Handler[DiceState]):
    """Throws a die whenever it is told, into a log line; its state never changes."""

    name = "dice"
    signals = {"throw": NoPayload}

    def on_start(self, w: Workflow[DiceState], payload: NoPayload) -> None:
        pass

    def on_throw(self, w: Workflow[DiceState], payload: NoPayload) -> None:
        w.log(f"threw {w.random.randint(1, 1_000_000)} {w.random.randint(1, 1_000_000)}")


class Domino(Handler[DiceState]):
    """Falls over and knocks over the one with the next id; ``end`` ends and then signals itself."""

    name = "domino"
    signals = {"fall": NoPayload, "end": NoPayload}

    def on_start(self, w: Workflow[DiceState], payload: NoPayload) -> None:
        w.step = "stands"

    def on_fall(self, w: Workflow[DiceState], payload: NoPayload) -> None:
        w.step = "fallen"
        if w.workflows.get(w.id + 1) is not None:
            w.workflows.signal(w.id + 1, "fall")

    def on_end(self, w: Workflow[DiceState], payload: NoPayload) -> None:
        w.complete()
        w.workflows.signal(w.id, "fall")


class Vandal(Handler[DiceState]):
    """Breaks things in other tables and other workflows, and then fails, as told by the name of its signal or timer."""

    name = "vandal"
    signals = {"defect": NoPayload, "refuse": NoPayload}

    def on_start(self, w: Workflow[DiceState], payload: NoPayload) -> None:
        w.timer("defect", after_us=1_000)

    def on_signal(self, w: Workflow[DiceState], signal: Signal) -> None:
        self._break(w, signal.name)

    def on_timer(self, w: Workflow[DiceState], timer: Timer) -> None:
        self._break(w, timer.name)

    def on_cancel(self, w: Workflow[DiceState], reason: str) -> None:
        self._break(w, reason)

    @staticmethod
    def _break(w: Workflow[DiceState], how: str) -> None:
        w.db.recovery_error.insert(workflow_id=w.id, workflow_type="vandal", message="broken", at=w.now)
        w.timer("another", after_us=5_000)
        for counter in w.workflows.find("counter"):
            w.workflows.signal(counter.id, "add", amount=1)
        w.workflows.start("counter")
        if how == "refuse":
            raise SenderError("sender_error", "no")
        raise RuntimeError("a defect")
