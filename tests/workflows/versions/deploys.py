"""One workflow type in three versions, as three deploys of one module would have it."""

from __future__ import annotations

from typing import Any

import msgspec

from reactor import Context, Module, seconds
from workflows import Handler, NoPayload, Payload, Timer, Workflow, WorkflowEngine

BEAT_US = seconds(10)


class Started(Payload):
    """What all versions are started with."""

    hp: int = 100


class StateOne(msgspec.Struct):
    """Version 1: hit points, and the beats that were heard."""

    hp: int
    beats: list[int] = []


class StateTwo(msgspec.Struct):
    """Version 2: hit points have a maximum."""

    hp: int
    hp_max: int
    beats: list[int] = []


class StateThree(msgspec.Struct):
    """Version 3: hit points are a share of the maximum, in thousandths."""

    share: int
    hp_max: int
    beats: list[int] = []


def with_maximum(state: dict[str, Any]) -> dict[str, Any]:
    """Version 1 to 2."""
    return {**state, "hp_max": max(100, state["hp"])}


def without_maximum(state: dict[str, Any]) -> dict[str, Any]:
    """Version 2 to 1."""
    del state["hp_max"]
    return state


def as_share(state: dict[str, Any]) -> dict[str, Any]:
    """Version 2 to 3. A bug once let hit points fall below nothing: nobody knows what such a state means."""
    if state["hp"] < 0:
        raise ValueError(f"hp is {state['hp']}")
    return {"share": 1000 * state["hp"] // state["hp_max"], "hp_max": state["hp_max"], "beats": state["beats"]}


def as_points(state: dict[str, Any]) -> dict[str, Any]:
    """Version 3 to 2."""
    return {"hp": state["share"] * state["hp_max"] // 1000, "hp_max": state["hp_max"], "beats": state["beats"]}


class Beating(Handler[Any]):
    """What all versions do: beat, be hurt, end."""

    name = "npc"
    clock = "wall"
    signals = {"hurt": Started, "leave": NoPayload}
    queries = {"inside": NoPayload}

    def on_start(self, w: Workflow[Any], payload: Started) -> None:
        """Begin to beat."""
        w.state = self.born(payload.hp)
        w.timer("beat", interval_us=BEAT_US)

    def on_timer(self, w: Workflow[Any], timer: Timer) -> None:
        """One more beat."""
        w.state.beats.append(timer.due_at)

    def on_leave(self, w: Workflow[Any], payload: NoPayload) -> None:
        """The end."""
        w.complete(msgspec.to_builtins(w.state))

    def query_inside(self, w: Workflow[Any], payload: NoPayload) -> Any:
        """The state as this version knows it."""
        return msgspec.to_builtins(w.state)

    def born(self, hp: int) -> Any:
        """A state of this version."""
        raise NotImplementedError


class One(Beating, Handler[StateOne]):
    """Version 1."""

    def born(self, hp: int) -> StateOne:
        """A state of this version."""
        return StateOne(hp)

    def on_hurt(self, w: Workflow[Any], payload: Started) -> None:
        """Lose hit points."""
        w.state.hp -= payload.hp


class Two(Beating, Handler[StateTwo]):
    """Version 2."""

    state_version = 2
    migrations = {1: with_maximum}
    downgrades = {2: without_maximum}

    def born(self, hp: int) -> StateTwo:
        """A state of this version."""
        return StateTwo(hp, hp)

    def on_hurt(self, w: Workflow[Any], payload: Started) -> None:
        """Lose hit points."""
        w.state.hp -= payload.hp


class Three(Beating, Handler[StateThree]):
    """Version 3."""

    state_version = 3
    migrations = {1: with_maximum, 2: as_share}
    downgrades = {2: without_maximum, 3: as_points}

    def born(self, hp: int) -> StateThree:
        """A state of this version."""
        return StateThree(1000, hp)

    def on_hurt(self, w: Workflow[Any], payload: Started) -> None:
        """Lose hit points."""
        w.state.share -= 1000 * payload.hp // w.state.hp_max


class Mended(Three):
    """Version 3, deployed again with a migration that knows what to do."""

    migrations = {1: with_maximum, 2: lambda state: as_share({**state, "hp": max(0, state["hp"])})}


class Stuck(Three):
    """Version 3 without a way from version 1."""

    migrations = {2: as_share}


def deploy(*types: type[Handler[Any]], audit: bool = False, **options: Any) -> Module:
    """A game with these types, in an engine of its own, as a deploy makes one."""
    game = Module("game", includes=[WorkflowEngine(types, audit=audit, **options)])

    @game.reducer
    def look(ctx: Context, workflow_id: int) -> str:
        return str(ctx.db.workflow.require(workflow_id).status)

    return game
