"""Workers come, fall silent, go, come back, and may not all be workers."""

from __future__ import annotations

import pytest

from reactor import SenderError, seconds
from reactor.context import Context
from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from tests.workflows.tasks.mail import LEASE_US, QUEUE, Mail, Postman, outcomes, put
from workflows import WorkflowEngine
from workflows.tasks import presence, queues
from workflows.tasks.part import TaskPart


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    """An engine that knows letters."""
    return make_rig(Mail)


def test_a_worker_goes_with_its_connection(rig: Rig) -> None:
    """D30: also when a crash cut it off; other clients cost no commit when they come and go."""
    seq = rig.engine.seq
    rig.connect("d" * 32).disconnect()
    assert rig.engine.seq == seq
    leaving, staying = Postman(rig, 1), Postman(rig, 2)
    leaving.ok("task_worker_hello", "parcels", 1)
    assert [(w.queue, w.slots) for w in rig.rows("task_worker")] == [(QUEUE, 4), (QUEUE, 4), ("parcels", 1)]
    leaving.client.disconnect()
    assert [w.connection_id for w in rig.rows("task_worker")] == [staying.client.session.caller.connection_id]
    assert len(rig.rows("reactor_connection")) == 1
    rig.crash()
    rig.reopen()
    assert rig.rows("task_worker") == rig.rows("reactor_connection") == rig.rows("task_timer") == []


def test_who_falls_silent_is_stale_and_back_with_a_word(rig: Rig) -> None:
    """D30: active and stale are told apart by a threshold that is a column; any word counts."""
    put(rig)
    postman = Postman(rig)
    task_id, token = postman.claim_one(seconds(1_000))
    for _ in range(4):
        rig.advance(seconds(20))
        postman.ok("task_heartbeat", task_id, token, seconds(1_000))
    assert [w.stale for w in rig.rows("task_worker")] == [False]
    rig.advance(seconds(30) - 1)
    assert [w.stale for w in rig.rows("task_worker")] == [False]
    rig.advance(1)
    assert [(w.stale, w.stale_after) for w in rig.rows("task_worker")] == [(True, seconds(30))]
    postman.claim()
    assert [w.stale for w in rig.rows("task_worker")] == [False]
    assert len([t for t in rig.rows("task_timer") if t.alarm == "worker"]) == 1
    rig.advance(seconds(30))
    assert [w.stale for w in rig.rows("task_worker")] == [True]


def test_saying_goodbye(rig: Rig) -> None:
    """D30: no slots is a goodbye, also of one who never said hello."""
    postman = Postman(rig)
    postman.ok("task_worker_hello", QUEUE, 0)
    postman.ok("task_worker_hello", QUEUE, 0)
    assert rig.rows("task_worker") == []
    assert [t for t in rig.rows("task_timer") if t.alarm == "worker"] == []
    assert postman.code("task_worker_hello", QUEUE, -1) == "bad_arguments"
    with pytest.raises(SenderError) as nobody:
        rig.call("task_worker_hello", QUEUE, 1)
    assert nobody.value.code == "bad_arguments"


def test_a_paused_queue_has_nothing_for_who_says_hello(rig: Rig) -> None:
    """D31: ``ready`` is what could be claimed."""
    put(rig)
    rig.call("task_queue_configure", QUEUE, None, None, True)
    postman = Postman(rig, slots=None)
    assert postman.ok("task_worker_hello", QUEUE, 3)["ready"] == 0
    rig.call("task_queue_configure", QUEUE, None, None, False)
    assert postman.ok("task_worker_hello", QUEUE, 3)["ready"] == 1


def test_a_worker_that_comes_back_keeps_its_leases(rig: Rig) -> None:
    """C27: the token is what counts; at its next heartbeat the task is in the new connection's hand."""
    put(rig), put(rig)
    postman = Postman(rig, slots=1)
    task_id, token = postman.claim_one()
    postman.client.disconnect()
    back = Postman(rig, slots=1)
    assert rig.call("task_admission", QUEUE)["workers"]["in_use"] == 0
    back.ok("task_heartbeat", task_id, token, LEASE_US)
    assert rig.call("task_admission", QUEUE)["admission"] == "no_slots"
    assert back.claim() == []
    assert back.ok("task_complete", task_id, token, None) == "completed"
    assert outcomes(rig, task_id) == ["Completed"]


def test_who_says_no_hello_may_still_work(rig: Rig) -> None:
    """C27: a script over HTTP has no connection; it claims and completes, and is no worker in the count."""
    put(rig)
    (task,) = rig.call("task_claim", QUEUE, 1, LEASE_US, sender="b" * 32)
    assert rig.rows("task_attempt")[0].owner == "b" * 32
    assert rig.call("task_admission", QUEUE)["admission"] == "no_active_workers"
    assert rig.call("task_complete", task["id"], task["token"], None, sender="b" * 32) == "completed"


def test_a_rule_says_who_is_a_worker() -> None:
    """D84: every verb of a worker asks it; the owner need not be on the list."""
    engine = WorkflowEngine((Mail,))

    def rule(ctx: Context, queue: str) -> bool:
        return ctx.sender == f"{1:032x}" and queue == QUEUE

    engine.part(TaskPart).may_work = rule
    with Rig(engine) as rig:
        put(rig), put(rig)
        postman, thief = Postman(rig, 1), Postman(rig, 2, slots=None)
        task_id, token = postman.claim_one()
        for reducer, args in (
            ("task_worker_hello", (QUEUE, 1)), ("task_claim", (QUEUE, 1, LEASE_US)), ("task_admission", (QUEUE,)),
            ("task_heartbeat", (task_id, token, LEASE_US)), ("task_complete", (task_id, token, None)),
            ("task_fail", (task_id, token, "no")), ("task_release", (task_id, token)),
        ):  # fmt: skip
            assert thief.code(reducer, *args) == "forbidden", reducer
        assert postman.code("task_claim", "parcels", 1, LEASE_US) == "forbidden"
        assert postman.ok("task_complete", task_id, token, None) == "completed"
        assert len(rig.call("task_claim", QUEUE, 1, LEASE_US)) == 1


def test_clients_leave_room_for_queues_of_the_game(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """P7: who says hello to names he makes up comes to an end before the game does, and so does one connection."""
    monkeypatch.setattr(queues, "CLIENT_QUEUES_MAX", 3)
    monkeypatch.setattr(presence, "QUEUES_OF_CONNECTION_MAX", 2)
    first, second = Postman(rig, 1, slots=None), Postman(rig, 2, slots=None)
    assert first.ok("task_worker_hello", "a", 1)
    assert first.ok("task_worker_hello", "b", 1)
    assert first.code("task_worker_hello", "c", 1) == "limit_exceeded"
    assert first.ok("task_worker_hello", "b", 2)
    assert second.ok("task_worker_hello", "c", 1)
    assert second.code("task_worker_hello", "d", 1) == "limit_exceeded"
    put(rig)
    first.ok("task_worker_hello", "a", 0)
    assert first.ok("task_worker_hello", QUEUE, 1)["ready"] == 1
