"""The built-in combat, to the microsecond."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from reactor import SenderError, seconds
from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from workflows import Combat, Status, Workflow
from workflows.types.combat import Act


class LoudCombat(Combat):
    """Notes turns, actions and the end; forbids one action."""

    heard: list[Any] = []

    def on_turn(self, w: Workflow[Any], actor: int) -> None:
        self.heard.append(("turn", actor))

    def on_action(self, w: Workflow[Any], action: Act, is_default: bool) -> None:
        if action.action == "cheat":
            raise SenderError("sender_error", "no")
        if action.action == "surrender":
            w.complete({"outcome": "surrendered"})
        self.heard.append((action.actor, action.action, is_default))

    def on_ended(self, w: Workflow[Any], outcome: str) -> None:
        self.heard.append((outcome, w.time()))


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    LoudCombat.heard.clear()
    return make_rig(LoudCombat)


def fight(rig: Rig, participants: Any = (1, 2, 3), **more: Any) -> int:
    payload = {"participants": list(participants), "turn_us": seconds(10), **more}
    return rig.start("combat", payload=payload)


def act(rig: Rig, workflow_id: int, *args: Any, **named: Any) -> Any:
    return rig.call("workflow_signal", workflow_id, "act", named or list(args))


def outcome(rig: Rig, workflow_id: int) -> Any:
    return orjson.loads(rig.row("workflow", workflow_id).result)


def test_turns_go_round(rig: Rig) -> None:
    """Each action passes the turn on; after the last comes the first, in a new round."""
    workflow_id = fight(rig)
    for actor in (1, 2, 3, 1):
        rig.advance(seconds(1))
        act(rig, workflow_id, actor, "hit", 9)
    turns = [entry[1] for entry in LoudCombat.heard if entry[0] == "turn"]
    assert turns == [1, 2, 3, 1, 2]
    assert orjson.loads(rig.row("workflow", workflow_id).state)["round"] == 2
    (timer,) = rig.rows("workflow_timer")
    assert (timer.armed_at, timer.scheduled_at) == (seconds(4), seconds(14)), "the row carries the deadline"


def test_a_deadline_takes_the_default_action(rig: Rig) -> None:
    """C6: at the deadline exactly, and the next deadline counts from there, also when it fired late."""
    workflow_id = fight(rig, default_action="defend")
    rig.advance(seconds(10) - 1)
    assert LoudCombat.heard == [("turn", 1)]
    rig.advance(1)
    assert LoudCombat.heard == [("turn", 1), (1, "defend", True), ("turn", 2)]
    rig.advance(seconds(25))
    assert [entry for entry in LoudCombat.heard if entry[0] == "turn"] == [("turn", n) for n in (1, 2, 3, 1)]
    (timer,) = rig.rows("workflow_timer")
    assert timer.scheduled_at == seconds(40)
    assert rig.row("workflow", workflow_id).current_step == "turn"


def test_only_the_one_whose_turn_it_is_acts(rig: Rig) -> None:
    """Refused with the reason, nothing changed; so are strangers, and actions the game forbids."""
    workflow_id = fight(rig)
    before = rig.row("workflow", workflow_id)
    for args, reason in (
        ((2, "hit"), "not the turn of entity 2"),
        ((9, "hit"), "not in this fight"),
        ((1, "cheat"), "no"),
    ):
        with pytest.raises(SenderError, match=reason) as caught:
            act(rig, workflow_id, *args)
        assert caught.value.code == "sender_error"
    assert rig.row("workflow", workflow_id) is before


def test_an_action_sent_twice_counts_once(rig: Rig) -> None:
    """C3: the same client_seq has one effect and the same answer; a refused one may be sent again."""
    workflow_id = fight(rig)
    with pytest.raises(SenderError):
        act(rig, workflow_id, actor=1, action="cheat", client_seq=7)
    answers = [act(rig, workflow_id, actor=1, action="hit", client_seq=7) for _ in range(3)]
    assert answers == ["Suspended"] * 3
    assert LoudCombat.heard == [("turn", 1), (1, "hit", False), ("turn", 2)]


def test_the_last_side_wins(rig: Rig) -> None:
    """The dead have no turns; sides win together."""
    workflow_id = fight(rig, [{"entity": 1, "side": 1}, {"entity": 2, "side": 2}, {"entity": 3, "side": 1}, 4])
    rig.call("workflow_signal", workflow_id, "death", 1)
    assert LoudCombat.heard[-1] == ("turn", 2), "the turn of the dead passes on"
    rig.call("workflow_signal", workflow_id, "death", 4)
    rig.call("workflow_signal", workflow_id, "death", 4)
    act(rig, workflow_id, 2, "hit")
    act(rig, workflow_id, 3, "hit")
    assert LoudCombat.heard[-1] == ("turn", 2)
    rig.advance(seconds(1))
    assert rig.call("workflow_signal", workflow_id, "death", 2) == "Completed"
    assert LoudCombat.heard[-1] == ("won", seconds(1))
    assert outcome(rig, workflow_id) == {"outcome": "won", "rounds": 2, "side": 1}
    assert rig.rows("workflow_timer") == []


def test_leaving_and_joining(rig: Rig) -> None:
    """Order is kept, whoever leaves; the newcomer comes last; joining twice changes nothing."""
    workflow_id = fight(rig)
    act(rig, workflow_id, 1, "hit")
    rig.call("workflow_signal", workflow_id, "leave", 1)
    rig.call("workflow_signal", workflow_id, "join", {"entity": 4})
    rig.call("workflow_signal", workflow_id, "join", 4)
    act(rig, workflow_id, 2, "hit")
    rig.call("workflow_signal", workflow_id, "leave", 3)
    assert [entry[1] for entry in LoudCombat.heard if entry[0] == "turn"] == [1, 2, 3, 4]
    rig.call("workflow_signal", workflow_id, "leave", 4)
    assert outcome(rig, workflow_id) == {"outcome": "won", "rounds": 1, "side": 2}


@pytest.mark.parametrize(("signal", "expected"), [("leave", "fled"), ("death", "draw")])
def test_nobody_left(rig: Rig, signal: str, expected: str) -> None:
    """The last one runs, or falls."""
    workflow_id = fight(rig, [1])
    rig.call("workflow_signal", workflow_id, signal, 1)
    assert outcome(rig, workflow_id) == {"outcome": expected, "rounds": 1, "side": None}


def test_the_leash_ends_a_fight_without_hostile_actions(rig: Rig) -> None:
    """C5: at exactly last hostile + leash, and not before; default and peaceful actions do not count."""
    workflow_id = fight(rig, leash_us=seconds(15))
    rig.advance(seconds(4))
    act(rig, workflow_id, 1, "hit")
    rig.advance(seconds(4))
    act(rig, workflow_id, actor=2, action="heal", hostile=False)
    rig.advance(seconds(11) - 1)
    assert rig.row("workflow", workflow_id).status is Status.SUSPENDED
    rig.advance(1)
    assert LoudCombat.heard[-1] == ("leash", seconds(19))
    assert outcome(rig, workflow_id)["outcome"] == "leash"
    assert rig.rows("workflow_timer") == [], "C10: the end cancels all its timers in one commit"


def test_an_action_may_end_the_fight(rig: Rig) -> None:
    """The game's hook completes it; no further turn begins."""
    workflow_id = fight(rig)
    assert act(rig, workflow_id, 1, "surrender") == "Completed"
    assert LoudCombat.heard == [("turn", 1), (1, "surrender", False)]


def test_a_restart_in_the_middle_of_a_turn(rig: Rig) -> None:
    """The deadline stands still with the world while the process is down."""
    workflow_id = fight(rig)
    rig.advance(seconds(7))
    rig.crash()
    rig.advance(seconds(600))
    rig.reopen()
    rig.advance(seconds(3) - 1)
    assert LoudCombat.heard == [("turn", 1)]
    rig.advance(1)
    assert LoudCombat.heard[-1] == ("turn", 2)
    rig.call("workflow_cancel", workflow_id, "gm")
    assert LoudCombat.heard[-1] == ("cancelled", seconds(10))


@pytest.mark.parametrize(
    "payload",
    [
        {"participants": []},
        {"participants": [1], "turn_us": 0},
        {"participants": [1, 2], "turn_us": 49_999},
        {"participants": [1, 2], "leash_us": 2**60},
        {"participants": [1, 2, 1]},
        {"participants": ["a"]},
        {},
        {"participants": [{"id": 1}]},
    ],
)
def test_bad_fights_are_refused(rig: Rig, payload: Any) -> None:
    """Nothing is stored."""
    with pytest.raises(SenderError) as caught:
        rig.start("combat", payload=payload)
    assert caught.value.code == "bad_arguments"


def test_lost_timers_are_armed_again(rig: Rig) -> None:
    """C01: taken up at the next start; a timer that is there keeps its due time."""
    workflow_id = fight(rig, leash_us=seconds(15))
    rig.advance(seconds(4))

    def lose(ctx: Any) -> None:
        ctx.db.workflow_timer.delete(ctx.db.workflow_timer.first(name="turn"))
        ctx.db.workflow.update(workflow_id, status=Status.RUNNING)

    rig.run(lose)
    rig.crash()
    rig.reopen()
    assert {t.name: t.scheduled_at for t in rig.rows("workflow_timer")} == {"turn": seconds(14), "leash": seconds(15)}
