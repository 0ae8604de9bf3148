"""``combat``: a fight in turns, each with a deadline, ended by victory, flight, or nobody fighting any more.

    start ──▶ turn ⇄ turn ──one side left──▶ Completed {"outcome": "won", "side": …}
               │            ──nobody left──▶ Completed {"outcome": "draw" or "fled"}
               └────leash────▶ Completed {"outcome": "leash"}

The turn goes round the living in the order in which they joined. Whoever lets the deadline pass does the default
action, at the deadline itself. The leash is the time without a hostile action after which the fight breaks off.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from reactor.errors import SenderError
from workflows.handle import Timer, Workflow
from workflows.handler import Handler
from workflows.payload import Payload
from workflows.types.spans import Period, Span


class Fighter(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One participant. Those of one ``side`` win together; ``client_seq`` is the last action that was taken from it."""

    entity: int
    side: int
    is_dead: bool = False
    client_seq: int | None = None


class Entrant(msgspec.Struct, forbid_unknown_fields=True):
    """Who joins; without a side, on a side of its own, that of its entity id."""

    entity: int
    side: int | None = None


class CombatStart(Payload):
    """A fight between at least one participant and whoever joins. Without ``leash_us`` it may rest for ever."""

    participants: Annotated[list[Entrant | int], msgspec.Meta(min_length=1, max_length=100)]
    turn_us: Period = 30_000_000
    leash_us: Span | None = None
    default_action: str = "pass"
    data: Any = None


class Act(Payload):
    """What the one whose turn it is does. Actions are hostile unless they say otherwise.

    ``client_seq`` counts up per actor; one that was seen already is an action sent twice, and nothing happens.
    """

    actor: int
    action: str
    target: int | None = None
    hostile: bool = True
    client_seq: int | None = None


class Join(Payload):
    """Somebody enters the fight."""

    entity: int
    side: int | None = None


class Leave(Payload):
    """Somebody runs."""

    entity: int


class Death(Payload):
    """Somebody died."""

    entity: int


class CombatState(msgspec.Struct, omit_defaults=True):
    """The fighters in turn order and whose turn it is, as an index; ``round`` counts from 1."""

    fighters: list[Fighter]
    turn: int
    round: int
    turn_us: int
    default_action: str
    leash_us: int | None = None
    data: Any = None


class Combat(Handler[CombatState]):
    """The built-in combat; see the module."""

    name = "combat"
    clock = "world"
    timers = ("turn", "leash")
    signals = {"act": Act, "join": Join, "leave": Leave, "death": Death}

    # -- for games ---------------------------------------------------------------------------

    def on_turn(self, w: Workflow[CombatState], actor: int) -> None:
        """A turn begins."""

    def on_action(self, w: Workflow[CombatState], action: Act, is_default: bool) -> None:
        """Somebody acts, or the deadline passed and the default action is taken. Raise ``SenderError`` to refuse it."""

    def on_ended(self, w: Workflow[CombatState], outcome: str) -> None:
        """The fight is over: ``won``, ``draw``, ``fled``, ``leash`` or ``cancelled``."""

    # -- its life ----------------------------------------------------------------------------

    def on_start(self, w: Workflow[CombatState], payload: CombatStart) -> None:
        """Line the fighters up and give the first one the turn."""
        w.state = CombatState(
            fighters=[],
            turn=0,
            round=1,
            turn_us=payload.turn_us,
            default_action=payload.default_action,
            leash_us=payload.leash_us,
            data=payload.data,
        )
        for given in payload.participants:
            entrant = Entrant(given) if isinstance(given, int) else given
            if any(f.entity == entrant.entity for f in w.state.fighters):
                told = f"entity {entrant.entity} is named twice among the participants"
                raise SenderError("bad_arguments", told, parameter="payload")
            self._enter(w, entrant.entity, entrant.side)
        self._rest_leash(w)
        self._begin_turn(w)

    def on_timer(self, w: Workflow[CombatState], timer: Timer) -> None:
        """The deadline of a turn, or the leash."""
        if timer.name == "leash":
            self._end(w, "leash")
            return
        actor = w.state.fighters[w.state.turn].entity
        self.on_action(w, Act(actor, w.state.default_action, hostile=False), True)
        self._after_action(w)

    def on_act(self, w: Workflow[CombatState], payload: Act) -> None:
        """An action of the one whose turn it is; from anyone else it is refused."""
        state = w.state
        actor = self._fighter(w, payload.actor)
        seen = actor.client_seq
        if payload.client_seq is not None:
            if seen is not None and payload.client_seq <= seen:
                return
            actor.client_seq = payload.client_seq
        if state.fighters[state.turn] is not actor:
            raise SenderError("sender_error", f"it is not the turn of entity {payload.actor}", reason="not_your_turn")
        self.on_action(w, payload, False)
        if payload.hostile:
            self._rest_leash(w)
        self._after_action(w)

    def on_join(self, w: Workflow[CombatState], payload: Join) -> None:
        """Enter at the end of the order; joining twice changes nothing."""
        if all(f.entity != payload.entity for f in w.state.fighters):
            self._enter(w, payload.entity, payload.side)

    def on_leave(self, w: Workflow[CombatState], payload: Leave) -> None:
        """Leave the fight."""
        state = w.state
        leaver = self._fighter(w, payload.entity)
        at = state.fighters.index(leaver)
        had_turn = at == state.turn
        state.fighters.remove(leaver)
        if at < state.turn:
            state.turn -= 1
        if had_turn:
            # The next in line has moved to this place; a step back lets the search begin there.
            state.turn -= 1
        self._after_loss(w, had_turn, "fled")

    def on_death(self, w: Workflow[CombatState], payload: Death) -> None:
        """Somebody is dead: no more turns for them."""
        fighter = self._fighter(w, payload.entity)
        if not fighter.is_dead:
            fighter.is_dead = True
            self._after_loss(w, w.state.fighters[w.state.turn] is fighter, "draw")

    def on_cancel(self, w: Workflow[CombatState], reason: str) -> Any:
        """Broken off from outside."""
        self.on_ended(w, "cancelled")
        return {"outcome": "cancelled"}

    def on_recover(self, w: Workflow[CombatState]) -> None:
        """Where a timer is missing, the turn or the leash begins again."""
        if w.timer_due("leash") is None:
            self._rest_leash(w)
        if w.timer_due("turn") is None:
            w.timer("turn", after_us=w.state.turn_us)

    # -- turns -------------------------------------------------------------------------------

    @staticmethod
    def _enter(w: Workflow[CombatState], entity: int, side: int | None) -> None:
        w.state.fighters.append(Fighter(entity, entity if side is None else side))

    @staticmethod
    def _fighter(w: Workflow[CombatState], entity: int) -> Fighter:
        for fighter in w.state.fighters:
            if fighter.entity == entity:
                return fighter
        raise SenderError("sender_error", f"entity {entity} is not in this fight", reason="not_in_fight")

    @staticmethod
    def _rest_leash(w: Workflow[CombatState]) -> None:
        if w.state.leash_us is not None:
            w.timer("leash", after_us=w.state.leash_us)

    def _begin_turn(self, w: Workflow[CombatState]) -> None:
        w.step = "turn"
        w.timer("turn", after_us=w.state.turn_us)
        self.on_turn(w, w.state.fighters[w.state.turn].entity)

    def _after_action(self, w: Workflow[CombatState]) -> None:
        """The turn passes on, unless the action itself ended the fight."""
        if w.ending is None:
            self._pass_turn(w)

    def _pass_turn(self, w: Workflow[CombatState]) -> None:
        state = w.state
        for _ in state.fighters:
            state.turn += 1
            if state.turn >= len(state.fighters):
                state.turn = 0
                state.round += 1
            if not state.fighters[state.turn].is_dead:
                break
        self._begin_turn(w)

    def _after_loss(self, w: Workflow[CombatState], had_turn: bool, nobody_left: str) -> None:
        """End the fight if one side or nobody is left, else go on."""
        sides = {f.side for f in w.state.fighters if not f.is_dead}
        if len(sides) > 1:
            if had_turn:
                self._pass_turn(w)
        elif sides:
            self._end(w, "won", sides.pop())
        else:
            self._end(w, nobody_left)

    def _end(self, w: Workflow[CombatState], outcome: str, side: int | None = None) -> None:
        w.step = outcome
        self.on_ended(w, outcome)
        w.complete({"outcome": outcome, "rounds": w.state.round, "side": side})
