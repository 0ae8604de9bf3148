"""Combat by turns: whoever does not act in time passes, and a client's late action is not an action."""

from __future__ import annotations

from typing import Any

from workflows import Payload, seconds
from workflows.scripts import Run, script


class FightStart(Payload):
    """Who fights, and for how many blows each can stand."""

    fighters: list[int]
    hit_points: int = 2
    turn_us: int = seconds(5)


class Act(Payload):
    """A blow by ``who``, in their turn number ``turn``."""

    who: int
    turn: int


@script(clock="wall", signals={"act": Act})
async def duel(w: Run, start: FightStart) -> dict[str, Any]:
    """Turns go round until one is left; a turn ends with its action or its deadline, whichever is first."""
    standing = dict.fromkeys(start.fighters, start.hit_points)
    turn = passed = 0
    while len(standing) > 1 and turn < 20:
        who = list(standing)[turn % len(standing)]
        ends_at = w.now + start.turn_us
        while True:
            chosen = await w.select(act=w.signal("act"), late=w.sleep_until(ends_at, name="turn", clock="wall"))
            if chosen.name == "late":
                passed += 1
                break
            if (chosen.value.who, chosen.value.turn) == (who, turn):
                target = next(fighter for fighter in standing if fighter != who)
                standing[target] -= 1
                if not standing[target]:
                    del standing[target]
                break
        turn += 1
    return {"winner": next(iter(standing)), "turns": turn, "passed": passed}
