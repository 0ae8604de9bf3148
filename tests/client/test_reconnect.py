"""What survives a lost connection: requests, subscriptions, the mirror, and what callbacks hear of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from client.core import Abandon, ClientCore
from client.errors import CallFailed, ConnectionClosed, ConnectionLost, Unavailable
from client.messages import Failure, Hello, Reply, Restored, SetClosed
from client.mirror import View
from tests.client.modelserver import ModelServer
from tests.client.rig import ALL, ZONE_0, ZONE_1, Rig, Shadow, connected, sent


def lose_and_come_back(rig: Rig) -> list[Any]:
    """A new connection, whose first messages of the client are returned, and all of it settled."""
    rig.disconnect()
    rig.server.shared.clear()
    rig.connect()
    rig.deliver_one()
    rig.send()
    assert rig.session is not None
    messages = list(rig.session.received)
    rig.settle()
    return messages


def test_what_becomes_of_requests() -> None:
    """A35, P5: in doubt fails, except what can be sent again; what was never sent waits. Order is kept."""
    rig = connected()
    rig.core.call("put", ["monster", [1, 0, 0]])
    rig.core.call("put", ["monster", [2, 0, 0]], key="k")
    rig.core.sql("SELECT 1")
    rig.core.time()
    rig.core.batch([("put", ["monster", [3, 0, 0]])], key="b")
    rig.send()
    rig.disconnect()
    assert [failure.id for failure in rig.of(Failure)] == [1, 4]
    assert all(isinstance(failure.error, ConnectionLost) for failure in rig.of(Failure))
    rig.core.call("put", ["monster", [4, 0, 0]])
    rig.connect()
    rig.settle()
    assert [reply.id for reply in rig.of(Reply)] == [2, 3, 5, 6]
    assert rig.server.seq == 4, "the calls with a key were carried out once"


def test_close_fails_everything() -> None:
    """After the end nothing waits in silence."""
    rig = connected()
    rig.core.call("put", [], key="k")
    rig.send()
    rig.core.sql("SELECT 1")
    events = rig.core.close()
    assert [type(event.error) for event in events if isinstance(event, Failure)] == [ConnectionClosed] * 2
    assert rig.core.unanswered == 0


def test_resume_tells_differences_only() -> None:
    """A35: with the same history the sets are resumed, and callbacks see the net difference, nothing twice."""
    rig = connected()
    shadow = Shadow(rig.core.mirror.table("monster").listeners)
    rig.server.commit({("monster", key): [key, key % 2, 5] for key in range(4)})
    rig.subscribe(ZONE_0, ZONE_1)
    shadow.log.clear()
    rig.disconnect()
    rig.server.commit({("monster", 0): [0, 1, 5], ("monster", 1): None, ("monster", 9): [9, 0, 1]})
    rig.server.commit({("monster", 9): None, ("monster", 2): [2, 0, 6]})
    rig.server.commit({("monster", 2): [2, 0, 5]})
    rig.server.shared.clear()
    rig.connect()
    rig.settle()
    assert rig.session is not None
    assert rig.session.received[0]["resume"] == {"history_id": "h1", "seq": 1}
    assert sorted(shadow.log) == ["-1", "~0"]
    [restored] = rig.of(Restored)
    assert restored.resumed
    assert rig.core.last_seq == restored.seq == 4


def test_snapshot_after_a_loss_tells_differences_only() -> None:
    """A35: also when everything is sent anew, rows that are as they were are not told again."""
    rig = connected()
    shadow = Shadow(rig.core.mirror.table("monster").listeners)
    rig.server.commit({("monster", key): [key, 0, 5] for key in range(3)})
    rig.subscribe(ALL)
    shadow.log.clear()
    rig.server.resumes = False
    rig.server.sessions.clear()
    rig.server.commit({("monster", 1): [1, 0, 6]})
    assert rig.session is not None
    rig.server.sessions.append(rig.session)
    lose_and_come_back(rig)
    assert shadow.log == ["~1"]
    assert not rig.of(Restored)[0].resumed


@pytest.mark.parametrize("how", ["other history", "shorter history"])
def test_no_resume_where_it_cannot_work(how: str) -> None:
    """A35: in another history, or one that has lost commits we saw, the same number means something else."""
    rig = connected()
    rig.server.commit({("monster", 1): [1, 0, 5]})
    rig.subscribe(ALL)
    if how == "other history":
        rig.server.new_history()
    else:
        rig.server.states.pop()
    [subscribe] = lose_and_come_back(rig)
    assert "resume" not in subscribe
    assert len(rig.rows("monster")) == (how == "other history")
    assert rig.core.history_id == rig.server.history_id


def test_loss_while_restoring_starts_over() -> None:
    """A35: a second loss before all sets are back leaves the mirror, and the point of resume, as they were."""
    rig = connected()
    rig.server.commit({("monster", 1): [1, 0, 5]})
    rig.subscribe(ZONE_0)
    rig.subscribe(ZONE_1)
    rig.disconnect()
    rig.server.commit({("monster", 1): [1, 1, 5]})
    rig.connect()
    rig.deliver_one()
    rig.send()
    rig.deliver_one()
    assert rig.rows("monster") == [(1, 0, 5)], "half of the sets is no state to show"
    rig.disconnect()
    rig.connect()
    rig.settle()
    assert rig.session is not None
    assert [message["resume"]["seq"] for message in rig.session.received] == [1, 1]
    assert rig.rows("monster") == [(1, 1, 5)]
    assert [len(restored.applied.changes) for restored in rig.of(Restored)] == [1]


def test_a_set_the_server_does_not_take_back() -> None:
    """A set that is refused at a reconnect ends with the error; its rows leave, the others stay."""
    rig = connected()
    rig.server.commit({("monster", 1): [1, 0, 5], ("player", "ada"): ["ada", 1]})
    monsters, _ = rig.subscribe(ALL)
    rig.subscribe("SELECT * FROM player")
    del rig.server.columns["monster"]
    lose_and_come_back(rig)
    [closed] = rig.of(SetClosed)
    assert (closed.set_id, closed.id) == (monsters, None)
    assert isinstance(closed.error, CallFailed)
    assert rig.rows("monster") == []
    assert rig.rows("player") == [("ada", 1)]


def test_a_server_that_is_busy_is_left_alone() -> None:
    """A set refused because the server is overloaded is not given up: the connection is, for now."""
    rig = connected()
    rig.subscribe(ALL)
    rig.disconnect()
    rig.connect()
    rig.deliver_one()
    [subscribe] = sent(rig.core)
    error = {"code": "overloaded", "message": "later"}
    with pytest.raises(Abandon):
        rig.core.receive(json.dumps({"id": subscribe["id"], "error": error}))
    assert issubclass(Unavailable, CallFailed)
    rig.disconnect()
    rig.connect()
    rig.settle()
    assert len(rig.of(Restored)) == 1


def test_upgraded_table_is_asked_for_whole() -> None:
    """A table that has got a column cannot be resumed, for unchanged rows lack it: it is subscribed once more."""
    rig = connected()
    rig.server.commit({("monster", 1): [1, 0, 5], ("monster", 2): [2, 0, 5]})
    _, view = rig.subscribe(ZONE_0)
    rig.disconnect()
    rig.server.columns["monster"].append("name")
    rig.server.states[-1]["monster"] = {1: [1, 0, 5, "orc"], 2: [2, 0, 5, "elf"]}
    rig.connect()
    rig.settle()
    assert rig.rows("monster") == [(1, 0, 5, "orc"), (2, 0, 5, "elf")]
    assert view.rows()[0].name == "orc"
    assert rig.core.mirror.table("monster").columns == ("id", "zone", "hp", "name")
    rig.server.commit({("monster", 1): [1, 0, 4, "orc"]})
    rig.settle()
    assert rig.rows("monster")[0] == (1, 0, 4, "orc")
    assert rig.session is not None
    assert len(rig.session.sets) == 1


def test_unsubscribe_without_connection() -> None:
    """A set let go while there is no connection is gone when the next one stands, and is not asked for again."""
    rig = connected()
    rig.server.commit({("monster", 1): [1, 0, 5]})
    set_id, _ = rig.subscribe(ALL)
    rig.disconnect()
    request = rig.core.unsubscribe(set_id)
    rig.connect()
    rig.settle()
    assert rig.session is not None
    assert rig.session.received == []
    assert [(closed.set_id, closed.id) for closed in rig.of(SetClosed)] == [(set_id, request)]
    assert rig.rows("monster") == []


def test_sql_is_no_point_of_resume() -> None:
    """P4: people's SQL may have seen commits whose frames are still on their way; resuming there would be a gap."""
    rig = connected()
    rig.subscribe(ALL)
    request = rig.core.sql("SELECT 1")
    assert len(sent(rig.core)) == 1
    rig.core.receive(json.dumps({"id": request, "ok": {"columns": [], "rows": [], "elapsed_us": 1}, "seq": 9}))
    assert rig.core.last_seq == 0
    rig.server.commit({("monster", 1): [1, 0, 5]})
    rig.settle()
    assert rig.core.last_seq == 1
    assert rig.rows("monster") == [(1, 0, 5)]


def test_token_is_kept() -> None:
    """The token of the greeting is there to be presented again; a greeting without one keeps ours."""
    rig = connected()
    assert rig.core.token == "secret"
    assert [hello.restoring for hello in rig.of(Hello)] == [False]
    mine = ClientCore("mine")
    mine.connection_made()
    mine.receive(ModelServer().connect().out[0].replace('"secret"', "null"))
    assert mine.token == "mine"


def test_views_can_share_a_core_with_callbacks_set_before() -> None:
    """The first rows of a set are inserts to callbacks that were set before it was subscribed."""
    rig = connected()
    rig.server.commit({("monster", 1): [1, 0, 5]})
    rig.subscribe(ALL)
    view = View(rig.core.mirror)
    shadow = Shadow(view.listeners)
    rig.core.subscribe([ALL], view)
    rig.settle()
    assert shadow.log == ["+1"]
