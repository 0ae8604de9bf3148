"""Tags and search attributes: at a start and later, typed, bounded, seen by subscribers, gone with their workflow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor import Timestamp
from reactor.errors import Refusal, SenderError
from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from tests.workflows.samples import Counter
from workflows import WorkflowEngine
from workflows.attributes import attributes_of, book, has_attribute, has_tag, mark, tags_of, with_attribute, with_tag
from workflows.attributes.values import ATTRIBUTES_MAX, TAGS_MAX, TEXT_CHARS_MAX, Kind, loaded, stored

KINDS = {"zone": int, "fee": float, "faction": str, "elite": bool, "seen_at": Timestamp}


def _start(rig: Rig, attributes: Any = None, tags: Any = None, **call: Any) -> int:
    options = {"attributes": attributes, "tags": tags}
    started: int = rig.call("workflow_start_with", "counter", None, None, None, options, **call)["id"]
    return started


def _has(rig: Rig, id: int) -> tuple[dict[str, Any], list[str]]:
    return rig.run(lambda ctx: (attributes_of(ctx, id), tags_of(ctx, id)))  # type: ignore[no-any-return]


def test_b37_set_at_start_and_later_through_crashes(make_rig: MakeRig) -> None:
    """B37: both ways, changed and taken away; a crash at every step keeps what was answered."""
    rig = make_rig(Counter, attributes=KINDS)
    id = _start(rig, {"zone": 3, "fee": 2, "note": "x"}, ["boss", "night"])
    expected: tuple[dict[str, Any], list[str]] = ({"fee": 2.0, "note": "x", "zone": 3}, ["boss", "night"])
    steps: list[Callable[[], Any]] = [
        lambda: rig.call("workflow_set_attributes", id, {"zone": 4, "note": None}),
        lambda: rig.call("workflow_tag", id, ["day"], ["night", "never there"]),
        lambda: rig.call("workflow_set_attributes", f"counter-{id}", {"seen_at": 1_700_000_000_000_000}),
    ]
    for step in steps:
        assert _has(rig, id) == expected
        rig.crash()
        rig.reopen()
        assert _has(rig, id) == expected
        step()
        expected = _has(rig, id)
    assert expected == ({"fee": 2.0, "seen_at": 1_700_000_000_000_000, "zone": 4}, ["boss", "day"])


def test_b37_a_list_finds_it_after_the_change_and_subscribers_are_told(make_rig: MakeRig) -> None:
    """B37: filter by attribute after a change; the delta is sent, also through a join."""
    rig = make_rig(Counter, attributes=KINDS)
    id = _start(rig, {"zone": 3})
    rows = rig.subscribe(f"SELECT * FROM workflow_attribute WHERE workflow_id = {id}")
    there = rig.subscribe(
        "SELECT w.* FROM workflow w JOIN workflow_attribute a ON w.id = a.workflow_id"
        " WHERE a.name = 'zone' AND a.value = '4'"
    )
    assert list(there.rows) == []
    assert rig.call("workflow_list", {"attributes": {"zone": 3}})["total"] == 1
    rig.call("workflow_set_attributes", id, {"zone": 4})
    assert [event for event, _ in rows.events] == ["update"]
    assert list(there.rows) == [id]
    assert rig.call("workflow_list", {"attributes": {"zone": 3}})["total"] == 0
    assert rig.call("workflow_list", {"attributes": {"zone": 4}})["total"] == 1
    rig.call("workflow_set_attributes", id, {"zone": 4})
    assert len(rows.events) == 1, "nothing changed, so nobody is told"


def test_c32_reserved_names_are_the_engines(make_rig: MakeRig) -> None:
    """C32: refused at a start, with nothing started, and later; the engine's own can be looked for."""
    rig = make_rig(Counter)
    attempts: list[Callable[[], Any]] = [
        lambda: _start(rig, {"$x": 1}),
        lambda: _start(rig, None, ["$x"]),
    ]
    for attempt in attempts:
        with pytest.raises(SenderError, match="reserved"):
            attempt()
    assert rig.rows("workflow") == []
    id = _start(rig)
    attempts = [
        lambda: rig.call("workflow_set_attributes", id, {"zone": 1, "$x": 1}),
        lambda: rig.call("workflow_set_attributes", id, {"$schedule": None}),
        lambda: rig.call("workflow_tag", id, ["$x"]),
    ]
    for attempt in attempts:
        with pytest.raises(SenderError, match="reserved"):
            attempt()
    assert _has(rig, id) == ({}, [])
    rig.run(lambda ctx: mark(ctx, id, "$schedule", "nightly"))
    assert rig.call("workflow_list", {"schedule": "nightly"})["total"] == 1
    assert rig.call("workflow_list", {"schedule": ["daily"]})["total"] == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"zone": "north"}, {"zone": 1.5}, {"zone": True}, {"zone": 1 << 63}, {"fee": "1"}, {"elite": 1}, {"faction": 3},
        {"free": [1]}, {"free": {}}, {"free": "x" * (TEXT_CHARS_MAX + 1)}, {"free": "a\0b"},
        {"": 1}, {"a b": 1}, {"x" * 65: 1}, {"9lives": 1},
    ],
)  # fmt: skip
def test_b37_what_an_attribute_cannot_hold(make_rig: MakeRig, changes: dict[str, Any]) -> None:
    """B37: the whole change is refused, the good part of it too; also as a filter."""
    rig = make_rig(Counter, attributes=KINDS)
    id = _start(rig)
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_set_attributes", id, {"good": 1, **changes})
    assert caught.value.code == "bad_arguments"
    assert _has(rig, id) == ({}, [])


@pytest.mark.parametrize("tag", ["", " x", "x" * 65, "a\nb", "a\0"])
def test_b37_what_is_no_tag(make_rig: MakeRig, tag: str) -> None:
    """B37: sizes and characters."""
    rig = make_rig(Counter)
    id = _start(rig)
    with pytest.raises(SenderError):
        rig.call("workflow_tag", id, ["good", tag])
    with pytest.raises(SenderError, match="at once"):
        rig.call("workflow_tag", id, ["good"], ["good"])
    assert _has(rig, id) == ({}, [])


def test_b37_there_are_only_so_many(make_rig: MakeRig) -> None:
    """B37: at the cap, and one more; replacing and taking away is always possible."""
    rig = make_rig(Counter)
    id = _start(rig, {f"a{n}": n for n in range(ATTRIBUTES_MAX)}, [f"t{n}" for n in range(TAGS_MAX)])
    rig.call("workflow_set_attributes", id, {"a0": 99})
    rig.run(lambda ctx: mark(ctx, id, "$own", 1))
    attempts: list[Callable[[], Any]] = [
        lambda: rig.call("workflow_set_attributes", id, {"one_more": 1}),
        lambda: rig.call("workflow_tag", id, ["one more"]),
    ]
    for attempt in attempts:
        with pytest.raises(SenderError, match="are allowed"):
            attempt()
    rig.call("workflow_set_attributes", id, {"a0": None, "one_more": 1})
    rig.call("workflow_tag", id, ["one more"], ["t0"])


def test_they_go_with_their_workflow(make_rig: MakeRig) -> None:
    """A105: no orphans; they stay while the ended workflow does, and can be changed."""
    rig = make_rig(Counter)
    id = _start(rig, {"zone": 1}, ["boss"])
    rig.call("workflow_signal", id, "finish")
    rig.call("workflow_tag", id, ["seen"])
    assert _has(rig, id) == ({"zone": 1}, ["boss", "seen"])
    rig.advance(1)
    rig.call("cleanup_old_workflows", 0)
    assert rig.rows("workflow") == []
    assert rig.rows("workflow_attribute") == rig.rows("workflow_tag") == []
    with pytest.raises(SenderError, match="no workflow"):
        rig.call("workflow_tag", id, ["x"])


def test_who_may_change_them(make_rig: MakeRig) -> None:
    """A107: the starter and the owner, unless the game says otherwise."""
    rig = make_rig(Counter)
    id = _start(rig, sender="a" * 32)
    rig.call("workflow_tag", id, ["mine"], sender="a" * 32)
    rig.call("workflow_set_attributes", id, {"zone": 1})
    for name, value in (("workflow_tag", ["theirs"]), ("workflow_set_attributes", {"zone": 2})):
        with pytest.raises(SenderError) as caught:
            rig.call(name, id, value, sender="b" * 32)
        assert caught.value.code == "forbidden"
    assert _has(rig, id) == ({"zone": 1}, ["mine"])


def test_found_from_a_reducer(make_rig: MakeRig) -> None:
    """Game code looks workflows up by an index, with the same meaning of values as lists."""
    rig = make_rig(Counter, attributes=KINDS)
    ids = [_start(rig, {"zone": n % 2, "free": n}, ["even"] if n % 2 == 0 else []) for n in range(4)]

    def look(ctx: Any) -> None:
        assert with_attribute(ctx, "zone", 0) == [ids[0], ids[2]]
        assert with_attribute(ctx, "free", 2.0) == [ids[2]]
        assert with_attribute(ctx, "free", "2") == []
        assert with_tag(ctx, "even") == [ids[0], ids[2]]
        assert has_tag(ctx, ids[0], "even")
        assert not has_tag(ctx, ids[1], "even")
        assert has_attribute(ctx, ids[1], "zone", 1)
        assert not has_attribute(ctx, ids[1], "zone", 0)
        book.set_tags(ctx, ids[0], ["odd"])
        assert tags_of(ctx, ids[0]) == ["odd"]

    rig.run(look)


@pytest.mark.parametrize("declared", [{"zone": list}, {"a b": int}, {"$x": int}, {"zone": bytes}])
def test_what_cannot_be_declared(declared: dict[str, Any]) -> None:
    """The engine refuses at once."""
    with pytest.raises(Refusal):
        WorkflowEngine(attributes=declared)


@given(
    st.text(max_size=20).filter(lambda t: "\0" not in t)
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
)
def test_what_was_stored_comes_back(value: Any) -> None:
    """Any JSON scalar that no kind was declared for; equal values have one text."""
    try:
        kind, text = stored("free", value, {})
    except SenderError:
        value.encode("utf-8", "surrogatepass")  # half of a pair: the only text that is refused
        return
    back = loaded(kind, text)
    assert back == value
    assert isinstance(back, bool) == isinstance(value, bool)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 53:
        assert stored("free", float(value), {}) == (Kind.INT, text)
