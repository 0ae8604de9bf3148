"""One task, many workers: who has it, for how long, and whose word counts."""

from __future__ import annotations

from typing import Any

import pytest

from reactor import SenderError, hours, seconds
from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from tests.workflows.tasks.mail import LEASE_US, QUEUE, Mail, Postman, outcomes, put, total


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    """An engine that knows letters."""
    return make_rig(Mail)


def test_a_claim_brings_what_a_worker_needs(rig: Rig) -> None:
    """C27: payload, idempotency key, token, attempt; the token is in no table that a client can read."""
    task_id = put(rig, "send", {"to": ["ada"]}, key="letter-7", timeout_us=seconds(90))
    postman = Postman(rig)
    (task,) = postman.claim(5)
    now = rig.clock.now()
    assert task == {
        "id": task_id, "queue": QUEUE, "name": "send", "key": "letter-7", "payload": {"to": ["ada"]},
        "workflow_id": None, "attempt": 1, "attempts_max": 3, "redeliveries": 0, "priority": 5,
        "token": task["token"], "lease_until": now + LEASE_US, "deadline": now + seconds(90), "created_at": now,
    }  # fmt: skip
    assert postman.claim(5) == []
    for table in ("task_content", "task_attempt", "task_details"):
        assert "error" in postman.client.ask(sql=f"SELECT * FROM {table}")
        assert "error" in postman.client.ask(subscribe=[f"SELECT * FROM {table}"])


def test_of_fifty_claimers_one_wins(rig: Rig) -> None:
    """E16, C27: fifty ask for the one task at the same instant, in one turn; one is given it, once."""
    put(rig)
    postmen = [Postman(rig, number, slots=1) for number in range(1, 51)]
    for postman in postmen:
        postman.client.send({"id": "claim", "call": "task_claim", "args": [QUEUE, 1, LEASE_US]})
    rig.settle()
    answers = [next(m for m in p.client.received if m.get("id") == "claim")["ok"] for p in postmen]
    assert sorted(map(len, answers)) == [0] * 49 + [1]
    assert len(rig.rows("task_attempt")) == 1


def test_a_token_is_good_for_its_own_task_only(rig: Rig) -> None:
    """E16: a wrong token is ``stale_lease``, an unknown task ``not_found``; nothing changes and nothing is noted."""
    put(rig), put(rig)
    postman = Postman(rig)
    one, other = postman.claim(2)
    seq = rig.engine.seq
    for reducer, more in (
        ("task_complete", ()), ("task_fail", ("no",)), ("task_release", ()), ("task_heartbeat", (LEASE_US,)),
    ):  # fmt: skip
        assert postman.code(reducer, one["id"], other["token"], *more) == "stale_lease"
        assert postman.code(reducer, one["id"], "made up", *more) == "stale_lease"
        assert postman.code(reducer, 99, one["token"], *more) == "not_found"
    assert rig.engine.seq == seq


def test_two_deliveries_run_once(rig: Rig) -> None:
    """C27, D57, D100: a lapsed lease is redelivered; the first worker's word comes late, is noted, and is ignored."""
    workflow = rig.start("mail")
    slow, quick = Postman(rig, 1), Postman(rig, 2)
    task_id, old = slow.claim_one(seconds(10))
    rig.advance(seconds(10) - 1)
    assert quick.claim() == []
    rig.advance(1)
    task_id, new = quick.claim_one()
    assert new != old
    answer = slow.ask("task_complete", task_id, old, "late")["error"]
    assert (answer["code"], answer["outcome"]) == ("stale_lease", "Lapsed")
    assert quick.ok("task_complete", task_id, new, "right") == "completed"
    row = rig.row("task", task_id)
    assert (row.status, row.attempt, row.redeliveries) == ("Completed", 1, 1)
    assert rig.sql("SELECT result, error FROM task_details") == [['"right"', None]]
    first, second = rig.rows("task_attempt")
    assert (first.outcome, first.late, first.late_at) == ("Lapsed", "completed", rig.clock.now())
    assert (second.outcome, second.follows, second.delay, second.late) == ("Completed", first.id, None, None)
    assert rig.row("workflow", workflow).result == f'[[{task_id},"completed","\\"right\\"",null,1,0]]'
    assert [total(rig, what) for what in ("claimed", "redelivered", "retried", "repaired", "ignored")] == [
        2,
        1,
        0,
        0,
        1,
    ]


def test_a_late_word_is_noted_once(rig: Rig) -> None:
    """D100: the same late word again, or another one, counts no further; heartbeats and releases are not words."""
    put(rig)
    postman = Postman(rig)
    task_id, token = postman.claim_one(seconds(1))
    rig.advance(seconds(1))
    assert postman.code("task_heartbeat", task_id, token, LEASE_US) == "stale_lease"
    assert postman.code("task_release", task_id, token) == "stale_lease"
    assert total(rig, "ignored") == 0
    assert postman.code("task_fail", task_id, token, "broken") == "stale_lease"
    assert postman.code("task_complete", task_id, token, 1) == "stale_lease"
    assert total(rig, "ignored") == 1
    assert rig.rows("task_attempt")[0].late == "failed"
    assert rig.row("task", task_id).status == "Ready"


def test_the_same_word_twice_is_one_word(rig: Rig) -> None:
    """P5: a worker that did not hear the answer says it again, and gets the same answer; the first result counts."""
    workflow = rig.start("mail", payload={"letters": 3, "patience": 3})
    postman = Postman(rig)
    done, failed, again = postman.claim(3)
    for result in (1, 2):
        assert postman.ok("task_complete", done["id"], done["token"], result) == "completed"
        assert postman.ok("task_fail", failed["id"], failed["token"], "never", None, True) == "failed"
        assert postman.ok("task_fail", again["id"], again["token"], "not now", 0) == "retrying"
    assert rig.row("task_content", done["id"]).result == "1"
    assert rig.row("workflow", workflow).state.count("completed") == 1
    task_id, token = postman.claim_one()
    assert (task_id, rig.row("task", task_id).attempt) == (again["id"], 2)
    assert postman.ok("task_release", task_id, token) == "released"
    assert postman.ok("task_release", task_id, token) == "released"
    assert [total(rig, what) for what in ("completed", "failed", "retried", "released", "ignored")] == [1, 1, 1, 1, 0]
    assert postman.code("task_fail", done["id"], done["token"], "after all") == "stale_lease"


def test_heartbeats_hold_a_task(rig: Rig) -> None:
    """C27: each moves the one timer of the lease; without them it lapses a lease after the last."""
    put(rig)
    postman = Postman(rig)
    task_id, token = postman.claim_one(seconds(3))
    for _ in range(5):
        rig.advance(seconds(2))
        until = postman.ok("task_heartbeat", task_id, token, seconds(3))
        assert until == rig.clock.now() + seconds(3)
        assert [t.scheduled_at for t in rig.rows("task_timer") if t.alarm == "lease"] == [until]
    rig.advance(seconds(3) - 1)
    assert rig.row("task", task_id).status == "Leased"
    rig.advance(1)
    assert rig.row("task", task_id).status == "Ready"
    assert rig.rows("task_attempt")[0].ended_at == until


def test_a_worker_that_fails_is_tried_again_later(rig: Rig) -> None:
    """D100, D57: retries name the attempt they follow and the delay, double their waits, and are no redeliveries."""
    workflow = rig.start("mail", payload={"options": {"attempts_max": 4, "backoff_us": seconds(2)}})
    postman = Postman(rig)
    waits = []
    for retry_after in (None, None, seconds(7)):
        task_id, token = postman.claim_one()
        assert postman.ok("task_fail", task_id, token, "no answer", retry_after) == "retrying"
        row = rig.row("task", task_id)
        assert (row.status, rig.rows("task_attempt")[-1].error) == ("Delayed", "no answer")
        waits.append(row.not_before - rig.clock.now())
        rig.advance(waits[-1] - 1)
        assert postman.claim() == []
        rig.advance(1)
    assert waits == [seconds(2), seconds(4), seconds(7)]
    task_id, token = postman.claim_one()
    assert postman.ok("task_fail", task_id, token, "still no answer") == "failed"
    attempts = rig.rows("task_attempt")
    assert [(a.attempt, a.follows, a.delay) for a in attempts] == [
        (1, None, None), (2, 1, waits[0]), (3, 2, waits[1]), (4, 3, waits[2]),
    ]  # fmt: skip
    assert [total(rig, what) for what in ("claimed", "retried", "redelivered", "failed")] == [4, 3, 0, 1]
    assert rig.row("workflow", workflow).result == f'[[{task_id},"failed",null,"still no answer",4,0]]'


def test_a_fatal_failure_is_the_last(rig: Rig) -> None:
    """C27: a worker that knows better ends the task at its first attempt."""
    put(rig)
    postman = Postman(rig)
    task_id, token = postman.claim_one()
    assert postman.ok("task_fail", task_id, token, "no such address", None, True) == "failed"
    assert rig.row("task", task_id).status == "Failed"
    assert [t for t in rig.rows("task_timer") if t.task_id == task_id] == []


def test_waits_stop_growing_at_an_hour(rig: Rig) -> None:
    """D100: a task that fails for a day is still tried every hour."""
    task_id = put(rig, attempts_max=100)
    postman = Postman(rig)
    for _ in range(14):
        (task,) = postman.claim()
        assert postman.ok("task_fail", task_id, task["token"], "no") == "retrying"
        rig.advance(rig.row("task", task_id).not_before - rig.clock.now())
    assert rig.rows("task_attempt")[-1].delay == hours(1)


def test_a_task_given_back_is_nobodys_fault(rig: Rig) -> None:
    """D57: released tasks are ready at once, with the same attempt, and counted apart."""
    put(rig)
    leaving, staying = Postman(rig, 1), Postman(rig, 2)
    task_id, token = leaving.claim_one()
    leaving.ok("task_release", task_id, token)
    (task,) = staying.claim()
    assert (task["id"], task["attempt"], task["redeliveries"]) == (task_id, 1, 0)
    assert outcomes(rig, task_id) == ["Released", "Running"]
    assert [total(rig, what) for what in ("released", "retried", "redelivered")] == [1, 0, 0]


def test_what_takes_every_worker_down_does_not_go_round_for_ever(rig: Rig) -> None:
    """D57: after ``redeliveries_max`` lapsed leases the task fails, and its workflow hears of it."""
    workflow = rig.start("mail", payload={"options": {"redeliveries_max": 2}})
    postman = Postman(rig)
    for _ in range(3):
        postman.claim_one(seconds(1))
        rig.advance(seconds(1))
    assert rig.rows("task")[0].status == "Failed"
    assert "3 leases of it lapsed" in rig.row("workflow", workflow).result
    assert outcomes(rig, 1) == ["Lapsed"] * 3
    assert [total(rig, what) for what in ("redelivered", "failed")] == [2, 1]


@pytest.mark.parametrize("held", [True, False])
def test_a_deadline_ends_a_task_whoever_has_it(rig: Rig, held: bool) -> None:
    """D101: the whole task has a deadline, over all its attempts; who still has it is told at the next word."""
    workflow = rig.start("mail", payload={"options": {"timeout_us": seconds(60)}})
    postman = Postman(rig)
    token = ""
    if held:
        _, token = postman.claim_one(hours(1))
    rig.advance(seconds(60) - 1)
    assert rig.row("workflow", workflow).status == "Suspended"
    rig.advance(1)
    assert rig.rows("task")[0].status == "TimedOut"
    assert '"timed_out"' in rig.row("workflow", workflow).result
    assert rig.rows("task_timer") == [] or [t.alarm for t in rig.rows("task_timer")] == ["worker"]
    if held:
        assert postman.code("task_complete", 1, token, None) == "stale_lease"
        assert (outcomes(rig, 1), total(rig, "ignored")) == (["TimedOut"], 1)


def test_a_start_mends_what_lost_its_timer(rig: Rig) -> None:
    """D57, D55: repair is for what is missing; it is counted apart from redelivery, and a healthy task is let be."""
    put(rig, delay_us=seconds(50)), put(rig), put(rig, timeout_us=seconds(90))
    postman = Postman(rig)
    postman.claim(2, lease_us=seconds(40))
    before = {(t.task_id, t.alarm, t.scheduled_at) for t in rig.rows("task_timer") if t.task_id}
    rig.crash()
    rig.reopen()
    assert total(rig, "repaired") == 0

    def lose(ctx: Any) -> None:
        for timer in list(ctx.db.task_timer):
            ctx.db.task_timer.delete(timer)

    rig.run(lose)
    rig.crash()
    rig.reopen()
    assert {(t.task_id, t.alarm, t.scheduled_at) for t in rig.rows("task_timer") if t.task_id} == before
    assert [total(rig, what) for what in ("repaired", "redelivered")] == [3, 0]
    rig.advance(seconds(50))
    assert [row.status for row in rig.rows("task")] == ["Ready"] * 3
    assert [total(rig, what) for what in ("repaired", "redelivered")] == [3, 2]


def test_first_things_first(rig: Rig) -> None:
    """D102: the lower priority first, then what has been ready longer; not yet due tasks are not handed out."""
    late = put(rig, delay_us=seconds(5), priority=0)
    plain, urgent, second = put(rig), put(rig, priority=1), put(rig)
    postman = Postman(rig, slots=10)
    assert [task["id"] for task in postman.claim(10)] == [urgent, plain, second]
    rig.advance(seconds(5))
    assert [task["id"] for task in postman.claim(10)] == [late]


def test_what_cannot_be_meant_is_refused(rig: Rig) -> None:
    """D72: each wrong value is named, and nothing is stored."""
    put(rig)
    postman = Postman(rig)
    task_id, token = postman.claim_one()
    assert postman.code("task_claim", QUEUE, 0, LEASE_US) == "bad_arguments"
    assert postman.code("task_claim", QUEUE, 1, 1) == "bad_arguments"
    assert postman.code("task_heartbeat", task_id, token, hours(9_999)) == "bad_arguments"
    assert postman.code("task_fail", task_id, token, "no", -1) == "bad_arguments"
    for options in (
        {"priority": 10}, {"attempts_max": 0}, {"redeliveries_max": -1}, {"delay_us": -1}, {"timeout_us": 0},
        {"key": ""}, {"backoff_us": -1}, {"payload": object()}, {"name": ""},
    ):  # fmt: skip
        with pytest.raises(SenderError) as refused:
            put(rig, **options)
        assert refused.value.code == "bad_arguments", options
    with pytest.raises(SenderError) as refused:
        put(rig, payload="x" * 300_000)
    assert refused.value.code == "payload_too_large"
    assert postman.code("task_complete", task_id, token, "x" * 300_000) == "payload_too_large"
    assert len(rig.rows("task")) == 1


def test_numbers_no_decoder_can_hold_come_through(rig: Rig) -> None:
    """P7: a payload goes to the worker as it was stored; one strange task keeps no queue from being claimed."""
    put(rig, payload={"big": 1 << 80})
    postman = Postman(rig)
    postman.client.send({"id": "claim", "call": "task_claim", "args": [QUEUE, 1, LEASE_US]})
    rig.settle()
    assert len(rig.rows("task_attempt")) == 1
