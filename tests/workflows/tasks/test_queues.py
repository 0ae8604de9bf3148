"""Queues: every admission state, the pace, the bound, and the numbers behind them, by call and by SQL alike."""

from __future__ import annotations

from typing import Any

import pytest

from reactor import SenderError, minutes, seconds
from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from tests.workflows.tasks.mail import QUEUE, Mail, Postman, put, total


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    """An engine that knows letters, and one letter's queue."""
    made = make_rig(Mail)
    made.call("task_queue_configure", QUEUE)
    return made


def admission(rig: Rig, queue: str = QUEUE) -> str:
    """The state as the reducer, game code and SQL tell it; they agree, in the numbers too."""
    told = rig.call("task_admission", queue)
    ((state, *numbers),) = rig.sql(
        "SELECT admission, backlog, ready, delayed, leased, workers_active, workers_stale, slots, slots_in_use, "
        "throttled_until FROM task_queue_state WHERE queue = ?",
        [queue],
    )
    crew = told["workers"]
    assert numbers == [
        told["backlog"], told["ready"], told["delayed"], told["leased"], crew["active"], crew["stale"], crew["slots"],
        crew["in_use"], told["throttled_until"],
    ]  # fmt: skip
    assert state == told["admission"] == rig.run(lambda ctx: ctx.tasks.admission(queue))
    return str(state)


def test_no_active_workers(rig: Rig) -> None:
    """D31: nobody is there, or nobody who is heard of; tasks are taken and wait."""
    assert admission(rig) == "no_active_workers"
    assert rig.run(lambda ctx: ctx.tasks.admission("never heard of")) == "no_active_workers"
    postman = Postman(rig)
    assert admission(rig) == "accepting"
    rig.advance(seconds(30))
    assert admission(rig) == "no_active_workers"
    postman.ok("task_worker_hello", QUEUE, 4)
    assert admission(rig) == "accepting"
    put(rig)


def test_no_slots(rig: Rig) -> None:
    """D31: everybody has both hands full; one that is done makes room."""
    put(rig), put(rig), put(rig)
    postman = Postman(rig, slots=2)
    claimed = postman.claim(5)
    assert len(claimed) == 2
    assert admission(rig) == "no_slots"
    assert postman.claim(5) == []
    postman.ok("task_complete", claimed[0]["id"], claimed[0]["token"], None)
    assert admission(rig) == "accepting"
    assert len(postman.claim(5)) == 1


def test_saturated(rig: Rig) -> None:
    """D31: as many wait as may, those that wait for their time included; a put is refused by code, a claim helps."""
    Postman(rig)
    rig.call("task_queue_configure", QUEUE, 2)
    put(rig)
    put(rig, delay_us=seconds(60), key="same")
    assert admission(rig) == "saturated"
    with pytest.raises(SenderError) as refused:
        put(rig)
    assert refused.value.code == "queue_saturated"
    assert (refused.value.details["backlog"], refused.value.details["capacity"]) == (2, 2)
    assert put(rig, delay_us=seconds(60), key="same") == 2
    with pytest.raises(SenderError) as start:
        rig.start("mail")
    assert start.value.code == "queue_saturated"
    assert rig.rows("workflow") == []
    Postman(rig, 2).claim()
    assert admission(rig) == "accepting"


def test_unavailable(rig: Rig) -> None:
    """D31: a paused queue takes tasks and hands out none; those who wait are woken when it goes on."""
    postman = Postman(rig)
    watch = postman.client.watch(f"SELECT * FROM task_queue WHERE name = '{QUEUE}'")
    rig.call("task_queue_configure", QUEUE, None, None, True)
    put(rig)
    assert admission(rig) == "unavailable"
    assert postman.claim() == []
    wakes = watch.rows[QUEUE]["wakes"]
    rig.call("task_queue_configure", QUEUE, None, None, False)
    assert watch.rows[QUEUE]["wakes"] == wakes + 1
    assert admission(rig) == "accepting"
    assert len(postman.claim()) == 1


def test_throttled(rig: Rig) -> None:
    """D31: at most so many a second, a second's worth at once; a timer ends it and wakes the workers, also past a
    crash."""
    rig.call("task_queue_configure", QUEUE, None, 2.0)
    for _ in range(6):
        put(rig)
    postman = Postman(rig, slots=10)
    assert len(postman.claim(10)) == 2
    assert admission(rig) == "throttled"
    assert postman.claim(10) == []
    (queue,) = rig.rows("task_queue")
    assert queue.throttled_until == rig.clock.now() + seconds(0.5)
    rig.crash()
    rig.reopen()
    rig.advance(seconds(0.5) - 1)
    assert rig.rows("task_queue")[0].throttled_until is not None
    rig.advance(1)
    assert rig.rows("task_queue")[0].wakes == queue.wakes + 1
    postman = Postman(rig, 2, slots=10)
    assert admission(rig) == "accepting"
    assert len(postman.claim(10)) == 1
    rig.advance(minutes(1))
    assert len(postman.claim(10)) == 2


@pytest.mark.parametrize("rate", [0.5, 3.0, 40.0])
def test_the_rate_is_kept_over_time(rig: Rig, rate: float) -> None:
    """D31: whoever claims whenever they are woken gets rate × time, with one burst, and never waits for nothing."""
    rig.call("task_queue_configure", QUEUE, None, rate)
    rig.run(lambda ctx: [ctx.tasks.put(QUEUE, "send") for _ in range(400)])
    postman = Postman(rig, slots=1_000)
    claimed = 0
    for _ in range(8_000):
        claimed += len(postman.claim(400))
        until = rig.rows("task_queue")[0].throttled_until
        if until is None or until > 1_700_000_000_000_000 + seconds(8):
            break
        rig.advance(until - rig.clock.now())
    burst = max(1, int(rate))
    assert burst + int(8 * rate) - 1 <= claimed <= burst + int(8 * rate) + 1


def test_taking_the_limit_away_lets_all_go(rig: Rig) -> None:
    """D31: a new rate holds at once, and 0 is none."""
    rig.call("task_queue_configure", QUEUE, None, 1.0)
    put(rig), put(rig), put(rig)
    postman = Postman(rig)
    assert len(postman.claim(3)) == 1
    rig.call("task_queue_configure", QUEUE, None, 0.0)
    assert admission(rig) == "accepting"
    assert len(postman.claim(3)) == 2
    assert [t for t in rig.rows("task_timer") if t.alarm == "throttle"] == []


def test_a_clock_that_was_set_back_stops_no_queue(rig: Rig) -> None:
    """P3: what the rate remembers may lie in the future; at most a burst of it counts."""
    rig.call("task_queue_configure", QUEUE, None, 1.0)
    put(rig)
    later = rig.clock.now() + minutes(600)
    rig.run(lambda ctx: ctx.db.task_queue_total.update(QUEUE, next_claim_at=later))
    postman = Postman(rig)
    assert postman.claim() == []
    rig.advance(seconds(1))
    assert len(postman.claim()) == 1


def test_idle_workers_are_woken_and_busy_ones_let_be(rig: Rig) -> None:
    """P8: what wakes is one public row; it changes when there is something where there was nothing before."""
    stranger = rig.connect("e" * 32, is_owner=False)
    watch = stranger.watch("SELECT * FROM task_queue")
    for _ in range(5):
        put(rig)
    assert [row["wakes"] for _, row in watch.events] == [1]
    postman = Postman(rig, slots=10)
    claimed = postman.claim(5)
    put(rig, delay_us=seconds(1))
    assert len(watch.events) == 1
    rig.advance(seconds(1))
    assert [row["wakes"] for _, row in watch.events] == [1, 2]
    postman.ok("task_release", claimed[0]["id"], claimed[0]["token"])
    assert [row["wakes"] for _, row in watch.events] == [1, 2, 3]


def test_what_a_queue_tells(rig: Rig) -> None:
    """D30, D22: backlog with its age, what is in hand, and the last minute's rates."""
    put(rig, priority=7)
    rig.advance(seconds(20))
    put(rig, priority=2), put(rig, delay_us=minutes(9))
    postman = Postman(rig)
    task_id, token = postman.claim_one()
    postman.ok("task_complete", task_id, token, None)
    told = rig.call("task_admission", QUEUE)
    assert (told["backlog"], told["ready"], told["delayed"], told["leased"]) == (2, 1, 1, 0)
    assert told["oldest_ready_us"] == seconds(20)
    assert told["last_minute"] == {"added": 3, "claimed": 1, "ended": 1}
    assert told["totals"]["added"] == 3 and told["totals"]["completed"] == 1
    assert rig.sql("SELECT oldest_ready_at, added FROM task_queue_state") == [[rig.rows("task")[0].ready_at, 3]]
    rig.advance(minutes(1))
    assert 0 < rig.call("task_admission", QUEUE)["last_minute"]["added"] <= 3
    rig.advance(minutes(2))
    assert rig.call("task_admission", QUEUE)["last_minute"] == {"added": 0, "claimed": 0, "ended": 0}


def test_leases_are_seen_without_their_tokens(rig: Rig) -> None:
    """D30: who has what in hand, and until when."""
    task_id = put(rig)
    postman = Postman(rig, 7)
    postman.claim(1, seconds(9))
    columns = "task_id, queue, name, attempt, owner, lease_until"
    assert rig.sql(f"SELECT {columns} FROM task_leases") == [
        [task_id, QUEUE, "send", 1, f"{7:032x}", rig.clock.now() + seconds(9)]
    ]
    assert "token" not in rig.connect().ask(sql="SELECT * FROM task_leases")["ok"]["columns"]


def test_queues_are_for_their_owner_to_change(rig: Rig) -> None:
    """D84: a client changes no queue, ends no task and removes none."""
    task_id = put(rig)
    postman = Postman(rig)
    assert postman.code("task_queue_configure", QUEUE, 1) == "forbidden"
    assert postman.code("task_cancel", task_id, "mine") == "forbidden"
    assert postman.code("cleanup_old_tasks", 0) == "forbidden"
    assert postman.code("task_timer_fire", {}) == "forbidden"
    for wrong in ([-1], [None, -1.0], [None, 1e9]):
        with pytest.raises(SenderError) as refused:
            rig.call("task_queue_configure", QUEUE, *wrong)
        assert refused.value.code == "bad_arguments"
    with pytest.raises(SenderError) as unnamed:
        rig.call("task_queue_configure", "")
    assert unnamed.value.code == "bad_arguments"
    with pytest.raises(SenderError) as unknown:
        rig.call("task_admission", "nowhere")
    assert unknown.value.code == "not_found"


def test_queues_are_not_without_number(rig: Rig) -> None:
    """P7: a client that says hello to queue after queue comes to an end."""
    postman = Postman(rig, slots=None)

    def fill(ctx: Any) -> None:
        for number in range(999):
            ctx.tasks.put(f"queue-{number}", "send")

    rig.run(fill)
    assert postman.code("task_worker_hello", "one more", 1) == "limit_exceeded"
    assert postman.ok("task_worker_hello", "queue-7", 1)["ready"] == 1


def test_old_tasks_go_when_they_are_told_to(rig: Rig) -> None:
    """A105, E43: ended ones of that age, with their attempts; open ones stay."""
    done, waiting = put(rig), put(rig, delay_us=minutes(5_000))
    postman = Postman(rig)
    task_id, token = postman.claim_one()
    postman.ok("task_complete", task_id, token, None)
    rig.advance(minutes(1_440))
    assert rig.call("cleanup_old_tasks", 1) == {"removed": 0, "more": False}
    rig.advance(1)
    assert rig.call("cleanup_old_tasks", 1) == {"removed": 1, "more": False}
    assert [row.id for row in rig.rows("task")] == [waiting] != [done]
    assert [row.task_id for row in rig.rows("task_content")] == [waiting]
    assert rig.rows("task_attempt") == []
    assert total(rig, "completed") == 1
