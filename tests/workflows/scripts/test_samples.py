"""The twelve samples of ``examples/samples``: each is played to its end, and again with a crash at every step."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from examples.samples import make_samples
from reactor.errors import SenderError
from reactor.testing import Rig
from workflows import seconds

Act = Callable[[Rig, int], Any]


def signal(name: str, **fields: Any) -> Act:
    """Send a signal."""
    return lambda rig, workflow_id: rig.call("workflow_signal", workflow_id, name, fields)


def update(name: str, **fields: Any) -> Act:
    """Ask for an update."""
    return lambda rig, workflow_id: rig.call("workflow_update", workflow_id, name, fields)


def after(duration_s: float) -> Act:
    """Let time pass."""
    return lambda rig, workflow_id: rig.advance(round(seconds(1) * duration_s))


WAYPOINTS = {"waypoints": ["gate", "mill"]}
GOODS = ["goods of 1", "goods of 2"]
BACK = ["back: goods of 2", "back: goods of 1"]

# name -> type, payload, acts, result (None: it has failed), notes
PLAYS: dict[str, tuple[str, dict[str, Any], list[Act], Any, list[str]]] = {
    "buff expires": (
        "stacking_buff",
        {"duration_us": seconds(10)},
        [after(9), signal("stack", count=2), after(9), signal("stack"), after(9), after(1)],
        {"outcome": "expire", "stacks": 4},
        [],
    ),
    "buff dispelled": (
        "stacking_buff",
        {},
        [after(9), signal("stack"), signal("dispel")],
        {"outcome": "dispel", "stacks": 2},
        [],
    ),
    "countdown": ("countdown", {"count": 2}, [after(1), after(1)], "liftoff", ["2", "1", "liftoff"]),
    "door": (
        "door",
        {"creaks": True},
        [*[signal("knock", code="0") for _ in range(3)], after(10), signal("knock", code="1234"), after(1)],
        {"outcome": "open", "wrong": 3},
        ["locked out", "creak"],
    ),
    "raid": ("raid", {"scouts": [4, 5, 6]}, [after(1), after(2)], {"outcome": "attack", "scouts": [4, 5, 6]}, []),
    "raid fails": (
        "raid",
        {"scouts": [4, 5, 6], "ambushed": 5},
        [after(1), after(1)],
        {"outcome": "retreat", "why": "Failed"},
        [],
    ),
    "patrol": (
        "patrol",
        WAYPOINTS,
        [after(2), signal("enemy", entity_id=9), after(3), after(2), *[after(4) for _ in range(3)], signal("dismiss")],
        {"laps": 4},
        ["at gate", "at mill", "won at mill", *["at gate", "at mill"] * 3, "at gate"],
    ),
    "workshop": (
        "workshop",
        {"items": ["sword", "bow"]},
        [after(4), signal("pause"), after(100), signal("resume"), after(6), after(10)],
        {"made": 2},
        ["made sword", "made bow"],
    ),
    "duel": (
        "duel",
        {"fighters": [1, 2]},
        [
            signal("act", who=1, turn=0),
            signal("act", who=1, turn=0),
            after(5),
            signal("act", who=1, turn=2),
        ],
        {"winner": 1, "turns": 3, "passed": 1},
        [],
    ),
    "grave": ("grave", {}, [after(15), after(16)], None, ["7 is back"]),
    "sky": (
        "sky",
        {},
        [after(20), after(10), after(20), signal("stop")],
        {"days": 1},
        ["day", "night", "day", "night"],
    ),
    "auction": (
        "auction",
        {},
        [update("bid", bidder=1, gold=5), after(50), update("bid", bidder=2, gold=7), after(59), after(1)],
        {"outcome": "over", "winner": 2, "gold": 7},
        [],
    ),
    "auction bought out": (
        "auction",
        {"buyout": 10},
        [update("bid", bidder=1, gold=5), update("bid", bidder=2, gold=10)],
        {"outcome": "sold", "winner": 2, "gold": 10},
        [],
    ),
    "trade": (
        "trade",
        {"left": 1, "right": 2},
        [signal("word", who=2), signal("word", who=2), signal("word", who=1)],
        {"outcome": "traded"},
        [*GOODS, "handed over"],
    ),
    "trade late": (
        "trade",
        {"left": 1, "right": 2},
        [signal("word", who=2), after(60)],
        {"outcome": "timeout"},
        [*GOODS, *BACK],
    ),
    "trade refused": (
        "trade",
        {"left": 1, "right": 2},
        [signal("word", who=1, accept=False)],
        {"outcome": "refused"},
        [*GOODS, *BACK],
    ),
    "quest": (
        "quest",
        {},
        [signal("kill"), after(9), signal("kill", count=2)],
        {"outcome": "done", "killed": 3},
        ["reward"],
    ),
    "quest abandoned": ("quest", {}, [signal("kill"), signal("abandon")], {"outcome": "abandoned"}, []),
}


@pytest.mark.parametrize("name", PLAYS)
@pytest.mark.parametrize("crashes", [False, True], ids=["calm", "crashes"])
def test_a_sample(name: str, crashes: bool) -> None:
    """A53, A60-A63, A66, A69: every sample comes to its end, and a crash before every act changes nothing."""
    kind, payload, acts, result, notes = PLAYS[name]
    with Rig(make_samples()) as rig:
        started = rig.call("workflow_start", kind, 7, "the one", payload)
        for act in acts:
            if crashes:
                rig.crash()
                rig.reopen()
            act(rig, started)
        row = rig.row("workflow", started)
        assert row.status == "Completed", (row.status, row.error_message, row.current_step)
        assert result is None or json.loads(row.result) == result
        assert [line.text for line in rig.rows("note")] == notes
        assert rig.rows("workflow_timer") == []


def test_a_respawn_refuses_signals() -> None:
    """A70: a type that declares none refuses them all, and nothing is stored."""
    with Rig(make_samples()) as rig:
        started = rig.call("workflow_start", "grave", 7)
        with pytest.raises(SenderError, match="takes none") as refused:
            rig.call("workflow_signal", started, "hurry")
        assert refused.value.code == "unknown_signal" and rig.rows("workflow_message") == []


def test_a_quest_may_fail() -> None:
    """A69, A44: out of time, it is Failed with its reason."""
    with Rig(make_samples()) as rig:
        started = rig.call("workflow_start", "quest", 7)
        rig.advance(seconds(600))
        row = rig.row("workflow", started)
        assert (row.status, row.failure_category) == ("Failed", "application") and "late" in row.error_message


def test_the_sky_is_found_by_its_correlation() -> None:
    """A69, A50: one for the world, without an entity."""
    with Rig(make_samples()) as rig:
        started = rig.call("workflow_start", "sky", None, "sky")
        found = rig.run(lambda ctx: [row.id for row in ctx.workflows.find(correlation_id="sky")])
        assert found == [started]
