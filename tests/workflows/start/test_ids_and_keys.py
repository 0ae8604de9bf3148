"""Explicit ids, taking over from what has ended, and idempotency keys."""

from __future__ import annotations

from typing import Any

import pytest

from reactor.errors import SenderError
from reactor.testing import OWNER, Rig
from tests.workflows.start.conftest import Start
from workflows.start import keys
from workflows.start.options import StartOptions

PLAYER = "a" * 32


def _code(call: Any) -> str:
    with pytest.raises(SenderError) as refused:
        call()
    return refused.value.code


def test_an_id_of_ones_own(rig: Rig, start: Start) -> None:
    """B40, E08: kept as given; a second start with it is refused while a workflow has it; later ids go on after it."""
    assert start("waiter", id=700)["id"] == 700
    assert _code(lambda: start("waiter", id=700)) == "already_exists"
    rig.call("workflow_cancel", 700, "enough")
    assert _code(lambda: start("waiter", id=700)) == "already_exists"
    assert start("waiter")["id"] == 701
    rig.call("cleanup_old_workflows", 0)
    rig.advance(1)
    rig.call("cleanup_old_workflows", 0)
    assert start("waiter", id=700)["outcome"] == "started"
    for bad in (0, -1, 2**53):
        assert _code(lambda bad=bad: start("waiter", id=bad)) == "bad_arguments"


def test_an_id_is_taken_over_from_what_has_ended(rig: Rig, start: Start) -> None:
    """B42: never from a live one; the old row goes with all it had, the new one records what it replaced."""
    start("timed", id=7, delay_us=10, name="first")
    assert _code(lambda: start("waiter", id=7, reuse="start_new")) == "already_exists"
    rig.advance(10)
    again = start("waiter", id=7, reuse="start_new", name="first")
    assert (again["id"], again["outcome"], again["replaced"], again["name"]) == (7, "replaced", [7], "first")
    rig.call("workflow_signal", 7, "finish")
    start("waiter", id=7, reuse="start_new")
    rig.crash()
    rig.reopen()
    columns = "workflow_id, replaced_id, name, status"
    lineage = [[7, 7, "first", "Completed"], [7, 7, "first", "Completed"]]
    assert rig.sql(f"SELECT {columns} FROM workflow_lineage ORDER BY id") == lineage
    assert [row.id for row in rig.rows("workflow")] == [7]
    # The events of the first two went with them.
    assert {event.sequence for event in rig.rows("workflow_event")} == {1}


def test_a_name_is_taken_over_from_what_has_ended(rig: Rig, start: Start) -> None:
    """B42: the ended one is kept, under its name and id."""
    first = start("waiter", name="boss")
    assert _code(lambda: start("waiter", name="boss", reuse="start_new")) == "already_exists"
    rig.call("workflow_signal", "boss", "finish")
    second = start("waiter", name="boss", reuse="start_new")
    assert (second["outcome"], second["replaced"]) == ("replaced", [first["id"]])
    assert rig.row("workflow", first["id"]).name == f"boss~{first['id']}"
    assert [row.replaced_id for row in rig.rows("workflow_lineage")] == [first["id"]]


def test_what_is_refused_displaces_nothing(rig: Rig, start: Start) -> None:
    """B42: a start that fails after it has made room leaves everything as it was."""
    start("waiter", id=7, name="boss")
    rig.call("workflow_signal", 7, "finish")

    def try_it(ctx: Any) -> str:
        with pytest.raises(SenderError):
            ctx.workflows.start("nest", options=StartOptions(id=7, reuse="start_new"), depth=12)
        return str(ctx.workflows.get(7).status)

    assert rig.run(try_it) == "Completed"
    assert rig.rows("workflow_lineage") == []


def test_fifty_callers_with_one_key_have_one_workflow(rig: Rig, start: Start) -> None:
    """B41, C38: whoever asks, also over several connections; the first starts it."""
    answers = [
        start("timed", 3, delay_us=50, request_id="quest-9", sender=f"{n:032x}" if n % 2 else OWNER) for n in range(50)
    ]
    assert len({answer["id"] for answer in answers}) == 1
    assert [answer["outcome"] for answer in answers] == ["started", *["existing"] * 49]
    assert len(rig.rows("workflow")) == 1
    # Every form of the payload is the same payload.
    assert start("timed", 3, payload='{"delay_us": 50}', request_id="quest-9")["outcome"] == "existing"


def test_a_key_outlives_its_workflow_and_is_spent_with_it(rig: Rig, start: Start) -> None:
    """B41: answered after the end and after a crash; refused once the workflow was removed, also if the id lives on."""
    first = start("timed", delay_us=5, request_id="k", id=40)
    rig.advance(5)
    rig.crash()
    rig.reopen()
    again = start("timed", delay_us=5, request_id="k", id=40)
    assert (again["id"], again["outcome"], again["status"]) == (first["id"], "existing", "Completed")
    start("waiter", id=40, reuse="start_new")
    assert _code(lambda: start("timed", delay_us=5, request_id="k", id=40)) == "key_spent"
    assert rig.call("workflow_keys_forget", 1) == {"removed": 0, "more": False}
    rig.advance(10)
    assert rig.call("workflow_keys_forget", 0) == {"removed": 1, "more": False}
    assert _code(lambda: start("timed", delay_us=5, request_id="k", id=40)) == "already_exists"


def test_a_purged_workflow_spends_its_key(rig: Rig, start: Start) -> None:
    """B41: purge; call -> key_spent."""
    start("timed", delay_us=5, request_id="k")
    rig.advance(10)
    assert rig.call("cleanup_old_workflows", 0)["removed"] == 1
    assert _code(lambda: start("timed", delay_us=5, request_id="k")) == "key_spent"


def test_a_key_for_something_else_is_refused(rig: Rig, start: Start) -> None:
    """B41: another type, entity, payload or option is another start."""
    start("timed", 3, delay_us=50, request_id="k")
    for kind, entity, delay, more in (
        ("waiter", 3, None, {}),
        ("timed", 4, 50, {}),
        ("timed", 3, 51, {}),
        ("timed", 3, 50, {"name": "x"}),
    ):
        given = {} if delay is None else {"delay_us": delay}
        assert _code(lambda a=(kind, entity), g={**given, **more}: start(*a, request_id="k", **g)) == "key_reused"
    assert len(rig.rows("workflow")) == 1


def test_a_refused_start_does_not_use_its_key(start: Start) -> None:
    """B41: nothing is stored, so the key is still good."""
    assert _code(lambda: start("timed", delay_us="x", request_id="k")) == "bad_arguments"
    assert start("timed", delay_us=5, request_id="k")["outcome"] == "started"


def test_labels_given_at_the_start(rig: Rig, start: Start) -> None:
    """B30: part of the start, also of one that is Pending; a wrong one undoes it."""
    labels = {"attributes": {"zone": 7}, "tags": ["raid"]}
    now = start("waiter", **labels)
    later = start("timed", delay_us=5, start_after_us=10, **labels)
    found = rig.sql("SELECT workflow_id, name, value FROM workflow_attribute WHERE name = 'zone' ORDER BY workflow_id")
    assert [row[0] for row in found] == [now["id"], later["id"]]
    assert _code(lambda: start("waiter", attributes={"zone": {"no": "value"}})) == "bad_arguments"
    assert len(rig.rows("workflow")) == 2


def test_a_batch_takes_options(rig: Rig) -> None:
    """B41: a batch that is sent again starts nothing; a bad item undoes it all and is named."""
    items = [{"type": "waiter", "options": {"name": f"w{n}", "request_id": f"r{n}"}} for n in range(3)]
    ids = rig.call("workflow_start_batch", items)
    assert rig.call("workflow_start_batch", items) == ids
    with pytest.raises(SenderError) as refused:
        rig.call("workflow_start_batch", [{"type": "waiter"}, {"type": "waiter", "options": {"name": "w1"}}])
    assert (refused.value.code, refused.value.details["index"]) == ("already_exists", 1)
    assert len(rig.rows("workflow")) == 3


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"id": 5}, "id"),
        ({"exclusive": "x"}, "exclusive"),
        ({"exclusive": "x", "on_conflict": "replace"}, "exclusive"),
        ({"name": "ended", "reuse": "start_new"}, "reuse"),
    ],
)
def test_what_a_client_may_not_ask(rig: Rig, start: Start, options: dict[str, Any], named: str) -> None:
    """A107: it could use up ids, or end and displace what others have started."""
    start("waiter", name="ended")
    rig.call("workflow_cancel", "ended", "over")
    with pytest.raises(SenderError) as refused:
        start("waiter", sender=PLAYER, **options)
    assert (refused.value.code, refused.value.details["option"]) == ("forbidden", named)
    with pytest.raises(SenderError) as refused:
        rig.call("workflow_start_batch", [{"type": "waiter", "options": options}], sender=PLAYER)
    assert refused.value.code == "forbidden"
    with pytest.raises(SenderError) as refused:
        start("duel", 1, delay_us=5, sender=PLAYER, on_conflict="replace")
    assert refused.value.code == "forbidden"
    assert start("waiter", sender=PLAYER, name="mine", request_id="r")["name"] == "mine"


def test_options_that_cannot_be_meant(start: Start) -> None:
    """Each is refused by name, and nothing is stored."""
    for given, named in (
        ({"start_at": 1, "start_after_us": 1}, "start_at"),
        ({"deadline_at": 1}, "deadline_at"),
        ({"deadline_us": 0}, "deadline_us"),
        ({"deadline_us": 1, "deadline_at": 2**50}, "deadline_at"),
        ({"start_after_us": 50, "chain_deadline_us": 50}, "chain_deadline_at"),
        ({"on_conflict": "join"}, "on_conflict"),
        ({"exclusive": "x", "on_conflict": "refresh"}, "on_conflict"),
        ({"concurrency_key": "x"}, "concurrency_key"),
        ({"request_id": ""}, "request_id"),
        ({"start_after_us": -1}, "start_after_us"),
    ):
        with pytest.raises(SenderError, match=f"option {named}") as refused:
            start("waiter", **given)
        assert refused.value.code == "bad_arguments"
    with pytest.raises(SenderError, match="unknown field"):
        start("waiter", nmae="x")


def test_the_keys_of_one_workflow_are_bounded(rig: Rig, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """B41: whoever joins a workflow with key after key finds the older half forgotten; the newest are known."""
    monkeypatch.setattr(keys, "KEYS_MAX", 4)
    for number in range(11):
        start("duel", 1, delay_us=1_000, request_id=f"k{number:02}", exclusive="x", on_conflict="join")
    kept = [row.request_id for row in rig.rows("workflow_request")]
    assert len(kept) <= 4
    assert kept[-1] == "k10"


def test_a_correlation_id_is_no_store(rig: Rig) -> None:
    """B40: 256 characters, by whichever door."""
    assert rig.start("waiter", correlation_id="c" * 256, payload={})
    for reducer in ("workflow_start", "workflow_start_with"):
        assert _code(lambda reducer=reducer: rig.call(reducer, "waiter", None, "c" * 257)) == "bad_arguments"
