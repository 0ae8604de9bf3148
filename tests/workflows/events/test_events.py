"""Events: matched by name, key and time, before or after the wait, each waiter once."""

from __future__ import annotations

from typing import Any

import pytest

from reactor import SenderError, seconds
from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from tests.workflows.events.support import Waiter, seen
from workflows.events import publishing


def start(rig: Rig, **payload: Any) -> int:
    return rig.start("waiter", payload=payload)


def test_an_event_wakes_those_who_wait_for_its_name_and_key(make_rig: MakeRig) -> None:
    """A67, E15, E21: only those, once, in the publisher's commit; ended ones never match."""
    rig = make_rig(Waiter)
    north = [start(rig, key="north") for _ in range(3)]
    south, other = start(rig, key="south"), start(rig, name="snow", key="north")
    ended = start(rig, key="north")
    rig.call("workflow_cancel", ended, "enough")
    seq = rig.engine.seq
    assert rig.call("event_publish", "rain", "north", {"mm": 5}) == {"id": 1, "outcome": "published", "told": 3}
    assert rig.engine.seq == seq + 1
    assert [rig.row("workflow", one).status for one in north] == ["Completed"] * 3
    assert [seen(rig, one) for one in (*north, south, other, ended)] == [[{"mm": 5}]] * 3 + [[]] * 3
    assert rig.call("event_publish", "rain", "north")["told"] == 0
    assert {sub.workflow_id for sub in rig.rows("event_subscription")} == {south, other}
    assert rig.row("workflow", north[0]).result == '[["north","{\\"mm\\":5}",77]]'


def test_a_thousand_listeners_in_one_transaction(make_rig: MakeRig) -> None:
    """A67: those of one zone wake, the others do not."""
    rig = make_rig(Waiter)
    rig.run(
        lambda ctx: [ctx.workflows.start("waiter", payload={"key": f"zone-{at % 2}"}) for at in range(2_000)] and None
    )
    seq = rig.engine.seq
    assert rig.call("event_publish", "rain", "zone-1")["told"] == 1_000
    assert rig.engine.seq == seq + 1
    done = {row.id % 2 for row in rig.rows("workflow") if row.status == "Completed"}
    assert len(done) == 1


def test_an_event_before_the_wait_is_found_by_its_time(make_rig: MakeRig) -> None:
    """E20, E19: one that happened after the as-of is told at once, the earliest first; others are not."""
    rig = make_rig(Waiter)
    t0 = rig.clock.now()
    rig.advance(seconds(1))
    rig.call("event_publish", "rain", "", "first")
    rig.advance(seconds(1))
    rig.call("event_publish", "rain", "", "second")
    rig.crash()
    rig.reopen()
    assert seen(rig, start(rig, as_of=t0)) == ["first"]
    assert seen(rig, start(rig, as_of=t0 + seconds(1))) == ["second"]
    late = start(rig)
    assert seen(rig, late) == []
    assert [sub.workflow_id for sub in rig.rows("event_subscription")] == [late]
    rig.advance(seconds(1))
    rig.call("event_publish", "rain", "", "third")
    assert seen(rig, late) == ["third"]
    kept = [row.id for row in rig.rows("event")]
    assert (len(kept), rig.call("event_find", "rain")) == (3, kept)
    assert rig.call("event_find", "rain", "", t0 + seconds(1)) == kept[1:]


def test_an_old_event_does_not_wake_who_waits_for_newer_ones(make_rig: MakeRig) -> None:
    """E15: the time of the event counts, not that of its publication."""
    rig = make_rig(Waiter)
    one = start(rig, as_of=rig.clock.now() + seconds(5))
    rig.call("event_publish", "rain", "", "too old")
    rig.call("event_publish", "rain", "", "back-dated", rig.clock.now() - seconds(9))
    assert seen(rig, one) == []
    rig.advance(seconds(5))
    rig.call("event_publish", "rain", "", "now")
    assert seen(rig, one) == ["now"]


def test_what_is_not_kept_reaches_only_those_who_wait(make_rig: MakeRig) -> None:
    """A67: a broadcast."""
    rig = make_rig(Waiter)
    t0 = rig.clock.now()
    rig.advance(seconds(1))
    one = start(rig)
    assert rig.call("event_publish", "rain", "", "gone", None, False) == {"id": None, "outcome": "published", "told": 1}
    assert seen(rig, one) == ["gone"]
    assert rig.rows("event") == []
    assert seen(rig, start(rig, as_of=t0)) == []


def test_waiting_again_does_not_find_the_same_event(make_rig: MakeRig) -> None:
    """E21: each waiter once, though the second wait begins at the very instant of the first event."""
    rig = make_rig(Waiter)
    one = start(rig, times=3)
    for at in range(3):
        assert len(seen(rig, one)) == at
        rig.call("event_publish", "rain", "", at)
    assert seen(rig, one) == [0, 1, 2]


def test_a_listener_is_told_of_all_in_order(make_rig: MakeRig) -> None:
    """E21, A67: from the past on, if it wants; through a crash; and no more when it has ended."""
    rig = make_rig(Waiter)
    t0 = rig.clock.now()
    for at in range(3):
        rig.advance(1)
        rig.call("event_publish", "rain", "", at)
    one = start(rig, lasting=True, as_of=t0)
    two = start(rig, lasting=True)
    rig.call("event_publish", "rain", "", 3)
    rig.crash()
    rig.reopen()
    rig.call("event_publish", "rain", "", 4)
    assert (seen(rig, one), seen(rig, two)) == ([0, 1, 2, 3, 4], [3, 4])
    rig.call("event_publish", "rain", "", "stop")
    rig.call("event_publish", "rain", "", 5)
    assert seen(rig, one)[-1] == "stop"
    assert rig.rows("event_subscription") == []


def test_one_that_fails_harms_no_other(make_rig: MakeRig) -> None:
    """E21, F7: the event is published, the others are told."""
    rig = make_rig(Waiter)
    ids = [start(rig, times=2 if at == 1 else 1) for at in range(3)]
    assert rig.call("event_publish", "rain", "", "crash")["told"] == 3
    assert [rig.row("workflow", one).status for one in ids] == ["Failed"] * 3
    assert rig.rows("event")[0].processed


def test_an_event_with_an_id_counts_once(make_rig: MakeRig) -> None:
    """E21, B45: a duplicate tells nobody; another with its id is refused."""
    rig = make_rig(Waiter)
    one = start(rig, times=9)
    first = rig.call("event_publish", "rain", "", "a", None, True, "once")
    assert rig.call("event_publish", "rain", "", "a", None, True, "once") == {
        **first,
        "outcome": "duplicate",
        "told": 0,
    }
    with pytest.raises(SenderError) as caught:
        rig.call("event_publish", "rain", "", "b", None, True, "once")
    assert caught.value.code == "key_reused"
    assert rig.call("event_publish", "rain", "else", "b", None, True, "once")["outcome"] == "published"
    assert seen(rig, one) == ["a"]


@pytest.mark.parametrize(("name", "key", "data", "code"), [
    ("", "", None, "bad_arguments"),
    ("x" * 257, "", None, "bad_arguments"),
    ("rain", "x" * 257, None, "bad_arguments"),
    ("rain", "", "x" * 300_000, "payload_too_large"),
])  # fmt: skip
def test_what_cannot_be_published_is_refused(make_rig: MakeRig, name: str, key: str, data: Any, code: str) -> None:
    """B52, A64: nothing is stored."""
    rig = make_rig(Waiter)
    seq = rig.engine.seq
    with pytest.raises(SenderError) as caught:
        rig.call("event_publish", name, key, data)
    assert caught.value.code == code
    assert rig.engine.seq == seq


def test_kept_events_are_forgotten_in_time(make_rig: MakeRig) -> None:
    """E19: by further publications, a few each, and by the clean-up."""
    rig = make_rig(Waiter)
    for at in range(10):
        rig.call("event_publish", "rain", "", at)
    rig.advance(publishing.KEPT_US + 1)
    rig.call("event_publish", "rain", "", "new")
    assert len(rig.rows("event")) == 7
    assert rig.call("cleanup_old_events") == {"removed": 6, "more": False}
    assert [row.data for row in rig.rows("event")] == ['"new"']


# -- in pieces ---------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "AT_ONCE_MAX", 3)
    monkeypatch.setattr(publishing, "CHUNK", 2)


def test_more_waiters_are_told_in_pieces(make_rig: MakeRig, small: None) -> None:
    """E21: every waiter once, with a crash after each piece; those who come later are not meant."""
    rig = make_rig(Waiter)
    ids = [start(rig) for _ in range(7)]
    commits: list[int] = []

    def publish(ctx: Any) -> None:
        assert ctx.events.publish("rain", "", "x").outcome == "queued"
        ctx.workflows.start("waiter")

    rig.run(publish)
    commits.append(rig.engine.seq)
    assert [seen(rig, one) for one in ids] == [["x"]] * 7
    assert seen(rig, 8) == []
    assert rig.rows("event_delivery") == []
    assert rig.rows("event")[0].processed


@pytest.mark.parametrize("crash_after", [0, 1, 2, 3])
def test_a_crash_between_the_pieces_loses_nothing(make_rig: MakeRig, small: None, crash_after: int) -> None:
    """E21: whichever piece it comes after."""
    rig = make_rig(Waiter, limits=one_timer_a_turn())
    ids = [start(rig, lasting=True) for _ in range(7)]
    rig.host.submit(asking("event_publish", "rain", "", "a"))
    rig.host.submit(asking("event_publish", "rain", "", "b"))
    for _ in range(crash_after + 1):
        rig.host.run_turn()
    told = [len(seen(rig, one)) for one in ids]
    assert told == sorted(told, reverse=True)
    rig.crash()
    rig.reopen()
    assert [seen(rig, one) for one in ids] == [["a", "b"]] * 7
    assert rig.rows("event_delivery") == []


def one_timer_a_turn() -> Any:
    from reactor.limits import Limits

    return Limits(timers_per_turn_max=1)


def asking(name: str, *args: Any) -> Any:
    import orjson

    from reactor.messages import Call, Caller

    return Call(name, orjson.dumps(args), Caller("0" * 32, None, True), lambda seq, body: None, None)


def test_what_is_queued_and_not_kept_goes_when_all_are_told(make_rig: MakeRig, small: None) -> None:
    """A67: a broadcast to many leaves nothing."""
    rig = make_rig(Waiter)
    ids = [start(rig) for _ in range(5)]
    assert rig.call("event_publish", "rain", "", "x", None, False)["outcome"] == "queued"
    assert [seen(rig, one) for one in ids] == [["x"]] * 5
    assert rig.rows("event") == []


def test_marks_go_both_ways(make_rig: MakeRig) -> None:
    """E19, E26: runnable until processed; marked back it is told to those who wait now, and to no listener twice."""
    rig = make_rig(Waiter)
    listener = start(rig, lasting=True)
    rig.call("event_publish", "rain", "", "x")
    waiter = start(rig, as_of=rig.clock.now())
    assert rig.call("event_runnable") == []
    seen_before = seen(rig, listener)
    rig.call("event_mark", 1, False)
    assert (seen(rig, listener), seen(rig, waiter)) == (seen_before, ["x"])
    assert rig.row("event", 1).processed
    rig.call("event_mark", 1, True)
    with pytest.raises(SenderError) as caught:
        rig.call("event_mark", 99, True)
    assert caught.value.code == "not_found"


def test_who_may_publish_can_be_said(make_rig: MakeRig) -> None:
    """REQ-24: the game's rule is asked with the verb ``publish``."""
    rig = make_rig(Waiter, authorize=lambda ctx, row, verb: verb != "publish")
    with pytest.raises(SenderError) as caught:
        rig.call("event_publish", "rain", sender="a" * 32)
    assert caught.value.code == "forbidden"
    assert rig.call("event_publish", "rain")["outcome"] == "published"


def test_clients_store_only_so_many_events(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """E15: past the bound a client's event is refused, unless it need not be stored; the game's own are taken."""
    monkeypatch.setattr(publishing, "CLIENT_EVENTS_MAX", 2)
    rig = make_rig(Waiter)
    waiter = start(rig, lasting=True)
    player = "a" * 32

    def publish(*more: Any) -> Any:
        return rig.call("event_publish", "rain", "", *more, sender=player)

    publish(1, None, True, "first")
    publish(2)
    with pytest.raises(SenderError) as refused:
        publish(3)
    assert (refused.value.code, refused.value.details["limit"]) == ("limit_exceeded", 2)
    assert publish(1, None, True, "first")["outcome"] == "duplicate"
    assert publish(4, None, False)["told"] == 1
    assert rig.call("event_publish", "rain", "", 5)["told"] == 1
    rig.run(lambda ctx: ctx.events.publish("rain", data=6) and None, sender=player)
    assert seen(rig, waiter) == [1, 2, 4, 5, 6]
    rig.advance(8 * 86_400 * 1_000_000)
    rig.call("cleanup_old_events")
    assert publish(7)["outcome"] == "published"
