"""The built-in respawn, to the microsecond."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from reactor import SenderError, minutes, seconds
from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from workflows import Respawn, Status, Workflow

ALICE = "a" * 32


class LoudRespawn(Respawn):
    """Notes when something came back."""

    back: list[tuple[int | None, int]] = []

    def on_respawn(self, w: Workflow[Any]) -> None:
        self.back.append((w.entity_id, w.now))


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    LoudRespawn.back.clear()
    return make_rig(LoudRespawn)


def test_it_comes_back_at_its_time(rig: Rig) -> None:
    """Not a microsecond earlier."""
    begin = rig.clock.now()
    workflow_id = rig.start("respawn", entity_id=7, payload={"delay_us": seconds(30)})
    rig.advance(seconds(30) - 1)
    assert LoudRespawn.back == []
    rig.advance(1)
    assert LoudRespawn.back == [(7, begin + seconds(30))]
    row = rig.row("workflow", workflow_id)
    assert (row.status, row.current_step) == (Status.COMPLETED, "alive")
    assert orjson.loads(row.result) == {"respawned_at": begin + seconds(30)}


def test_it_runs_on_while_the_server_is_down(rig: Rig) -> None:
    """R1, A81, A82: due is written at death; a crash right after changes nothing; back right after the start."""
    begin = rig.clock.now()
    rig.start("respawn", entity_id=7, payload={"delay_us": minutes(5)})
    rig.crash()
    rig.advance(minutes(4))
    rig.reopen()
    assert LoudRespawn.back == []
    rig.crash()
    rig.advance(minutes(60))
    rig.reopen()
    assert LoudRespawn.back == [(7, begin + minutes(5))]


def test_a_delay_is_drawn_once_and_kept(rig: Rig) -> None:
    """R9: within the range, stored with the death, not the same for everybody."""
    for _ in range(50):
        rig.start("respawn", payload={"delay_us": seconds(10), "delay_max_us": seconds(20)})
    rig.crash()
    rig.reopen()
    states = [orjson.loads(row.state) for row in rig.rows("workflow")]
    delays = [state["due_at"] - state["died_at"] for state in states]
    assert all(seconds(10) <= d <= seconds(20) for d in delays)
    assert len(set(delays)) > 40
    assert [t.scheduled_at for t in rig.rows("workflow_timer")] == [rig.clock.now() + d for d in delays]


def test_two_runs_draw_the_same(make_rig: MakeRig) -> None:
    """R9: same seed, same due values."""
    states = []
    for _ in range(2):
        rig = make_rig(Respawn)
        for _ in range(5):
            rig.start("respawn", payload={"delay_us": 0, "delay_max_us": minutes(5)})
        states.append([row.state for row in rig.rows("workflow")])
    assert states[0] == states[1]


def test_nobody_interrupts_it(rig: Rig) -> None:
    """A70, A69: no signals, and no cancel by a client, not even by who started it; the owner may."""
    workflow_id = rig.call("workflow_start", "respawn", 7, None, {"delay_us": seconds(30)}, sender=ALICE)
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_signal", workflow_id, "now", None, sender=ALICE)
    assert caught.value.code == "unknown_signal"
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_cancel", workflow_id, "please", sender=ALICE)
    assert caught.value.code == "forbidden"
    assert rig.row("workflow", workflow_id).sequence == 1
    assert rig.call("workflow_cancel", workflow_id, "event over") == "Cancelled"
    rig.advance(minutes(1))
    assert LoudRespawn.back == [], "no second spawn later (R10)"


@pytest.mark.parametrize("payload", [{}, {"delay_us": -1}, {"delay_us": 2**60}, {"delay_us": 5, "delay_max_us": 4}])
def test_bad_delays_are_refused(rig: Rig, payload: Any) -> None:
    """Nothing is stored."""
    with pytest.raises(SenderError) as caught:
        rig.start("respawn", payload=payload)
    assert caught.value.code == "bad_arguments"
    assert rig.rows("workflow") == []
