"""What must not get lost or stuck when the store fails at an awkward moment."""

from __future__ import annotations

import dataclasses
from typing import Any

from reactor.clock import HOUR, SECOND
from reactor.limits import DEFAULT_LIMITS
from reactor.scopes import WORLD
from tests.reactor.fakes import STRANGER, Desk


def _ids(client: Any) -> set[Any]:
    return {message.get("id") for message in client.received}


def test_p6_what_waited_for_a_slow_disk_is_answered_when_it_fails() -> None:
    """P6: turns had stopped because too much was unsynced; the failure starts them again, and everybody is told."""
    desk = Desk(limits=dataclasses.replace(DEFAULT_LIMITS, unsynced_bytes_max=100))
    woken: list[int] = []
    client = desk.connect(STRANGER)
    desk.host.wake = lambda: woken.append(1)
    for number in range(20):
        client.send({"id": number, "call": "spawn", "args": [1]})
        desk.host.run_turn()
    woken.clear()
    desk.storage.fail("io")
    assert woken, "somebody has to take the next turn"
    desk.settle()
    assert _ids(client) == set(range(20))


def test_p4_an_unsubscribe_is_acknowledged_through_a_failure() -> None:
    """P4: the set is closed at the server, so the client must not go on believing in it."""
    desk = Desk()
    client = desk.connect(STRANGER)
    client.send({"id": 0, "subscribe": ["SELECT * FROM monster"]})
    desk.settle()
    desk.storage.sync()
    client.received.clear()
    client.send({"id": 1, "call": "spawn", "args": [1]})
    client.send({"id": 2, "unsubscribe": 1})
    desk.settle()
    desk.storage.fail("full")
    codes = {m["id"]: m.get("error", {}).get("code", "ok") for m in client.received}
    assert codes == {1: "in_doubt", 2: "ok"}


def test_a_wall_step_that_was_taken_back_is_made_up_for() -> None:
    """P6, decision 1: ``world`` does not jump with the wall, also when the note of it could not be stored at first."""
    desk = Desk()
    shown = desk.engine.scopes.value_at(WORLD, desk.clock.now())
    desk.clock.advance(HOUR)
    desk.host.wall_stepped(HOUR)
    desk.storage.fail("full")
    desk.storage.recover()
    desk.settle()
    desk.storage.sync()
    assert desk.engine.scopes.value_at(WORLD, desk.clock.now()) == shown


def test_a_wall_step_is_made_up_for_once_however_often_the_store_fails() -> None:
    """P6, decision 1: taken back twice, owed once."""
    desk = Desk()
    shown = desk.engine.scopes.value_at(WORLD, desk.clock.now())
    desk.clock.advance(HOUR)
    desk.host.wall_stepped(HOUR)
    for _ in range(2):
        desk.storage.fail("full")
        desk.storage.recover()
    desk.settle()
    desk.storage.sync()
    assert desk.engine.scopes.value_at(WORLD, desk.clock.now()) == shown


def test_a28_a_bad_message_too_many_does_not_hold_back_the_answers_after_it() -> None:
    """A28, REQ-19: past the limit of unanswered requests also a message that cannot be read is answered in its turn."""
    asked: list[Any] = []
    limits = dataclasses.replace(DEFAULT_LIMITS, inflight_per_connection_max=3)
    desk = Desk(limits=limits, sql=lambda question, respond: asked.append(respond))
    client = desk.connect(STRANGER)
    client.send({"id": 0, "sql": "SELECT 1"})
    for number in range(1, 5):
        client.send({"id": number, "nonsense": True})
    desk.settle()
    assert _ids(client) == set()
    asked[0](b"null")
    assert [m["id"] for m in client.received] == [0, 1, 2, 3, 4]
    assert [m["error"]["code"] for m in client.received[1:]] == [
        "bad_message",
        "bad_message",
        "overloaded",
        "overloaded",
    ]
    assert client.ask(time=1)["ok"]["echo"] == 1


def test_p6_sql_does_not_wait_for_ever_for_a_projection_that_stands_still() -> None:
    """P6, A28: past the deadline it is ``sql_unavailable``, and the answers behind it go out."""
    asked: list[Any] = []
    desk = Desk(sql=lambda question, respond: asked.append(question))
    desk.storage.project = lambda seq: None  # type: ignore[method-assign]
    client = desk.connect(STRANGER)
    client.send({"id": 1, "sql": "SELECT 1"})
    client.send({"id": 2, "time": 1})
    desk.settle()
    assert _ids(client) == set()
    assert not desk.host.is_settled
    desk.clock.advance(round(DEFAULT_LIMITS.sql_deadline_s * SECOND) + 1)
    desk.host.questions.expire(desk.clock.now())
    assert [m["id"] for m in client.received] == [1, 2]
    assert client.received[0]["error"]["code"] == "sql_unavailable"
    assert not asked
    assert len(desk.host.questions) == 0


def test_recovery_goes_through_with_a_full_inbox() -> None:
    """P6: what the reactor owes itself is not held back by what strangers have queued."""
    desk = Desk(limits=dataclasses.replace(DEFAULT_LIMITS, inbox_calls_max=10, inflight_per_connection_max=10))
    client = desk.connect(STRANGER)
    desk.clock.advance(HOUR)
    desk.storage.fail("full")
    desk.host.wall_stepped(HOUR)
    for number in range(10):
        client.send({"id": number, "time": number})
    desk.storage.recover()
    desk.settle()
    desk.storage.sync()
    assert _ids(client) == set(range(10))
    assert desk.engine.halted is None
    assert desk.engine.scopes.value_at(WORLD, desk.clock.now()) == 0


def test_p7_one_turn_runs_one_snapshot() -> None:
    """P7, REQ-19: whoever asks for many large snapshots lets the others have their turns in between."""
    desk = Desk()
    greedy, other = desk.connect(STRANGER), desk.connect("b" * 32)
    for number in range(5):
        greedy.send({"id": number, "subscribe": [f"SELECT * FROM monster WHERE zone > {number}"]})
    other.send({"id": 1, "time": 1})
    desk.host.run_turn()
    assert len(greedy.session.sets) == 1
    desk.settle()
    assert len(greedy.session.sets) == 5
    assert _ids(other) == {1}


def test_p7_queries_without_an_equality_are_bounded() -> None:
    """P7, REQ-19: they cost every commit of their table, so a connection holds only so many."""
    desk = Desk(limits=dataclasses.replace(DEFAULT_LIMITS, unrouted_per_connection_max=3))
    client = desk.connect(STRANGER)
    answers = [client.ask(subscribe=[f"SELECT * FROM monster WHERE zone > {n}"]) for n in range(4)]
    assert ["error" in answer for answer in answers] == [False, False, False, True]
    assert answers[3]["error"]["code"] == "limit_exceeded"
    assert "ok" in client.ask(subscribe=["SELECT * FROM monster WHERE zone = 3"])
    client.ask(unsubscribe=1)
    assert "ok" in client.ask(subscribe=["SELECT * FROM monster WHERE zone > 9"])


def test_the_inbox_is_bounded_in_bytes() -> None:
    """REQ-19: a few enormous requests are refused as many small ones are, and the bound is free again afterwards."""
    desk = Desk(limits=dataclasses.replace(DEFAULT_LIMITS, inbox_bytes_max=1_000))
    client = desk.connect(STRANGER)
    for number in range(4):
        client.send({"id": number, "call": "hit", "args": [1, "x" * 400]})
    desk.settle()
    codes = [m["error"]["code"] for m in client.received]
    assert sorted(codes) == ["bad_arguments", "bad_arguments", "bad_arguments", "overloaded"]
    assert client.ask(time=1)["ok"]["echo"] == 1
