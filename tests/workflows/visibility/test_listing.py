"""Lists and aggregates: the same answer with the index, without it, inside a reducer, and in the plainest words."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import msgspec
import pytest

from reactor.context import Caller
from reactor.errors import SenderError
from reactor.limits import DEFAULT_LIMITS, Limits
from reactor.reports import ReportContext
from reactor.testing import Rig
from tests.workflows.visibility.support import attributes_of, distrust, make_rig, naive, pages, put
from workflows.life import TERMINAL, Status
from workflows.visibility.cursor import Cursor
from workflows.visibility.filters import ListFilter
from workflows.visibility.index import INDEX
from workflows.visibility.listing import list_query
from workflows.visibility.matching import matching

# The rows are put in the tables as the tests want them.
pytestmark = pytest.mark.damages

T0 = 1_700_000_000_000_000
TYPES = ("buff", "combat", "npc_patrol")
CATEGORIES = (None, "application", "timeout")


def _populate(rig: Rig, chance: random.Random, count: int) -> None:
    roots: list[int] = []
    for n in range(count):
        status = chance.choice(list(Status))
        parent = chance.choice([None, *roots[:5]])
        made = put(
            rig,
            workflow_type=chance.choice(TYPES),
            status=status,
            entity_id=chance.choice([None, 1, 2, 3]),
            correlation_id=chance.choice([None, "wave-1", "wave-2"]),
            name=f"{chance.choice(['orc', 'elf', 'Orc', 'óðr'])}-{n}",
            # Many at one instant: the order of ties is part of the order.
            created_at=T0 + chance.randrange(6),
            updated_at=T0 + chance.randrange(6, 12),
            deadline=chance.choice([None, T0 + chance.randrange(50)]),
            failure_category=chance.choice(CATEGORIES) if status in TERMINAL else None,
            parent_id=parent,
            root_id=parent,
            attributes={
                name: value
                for name, value in {
                    "zone": chance.randrange(3), "fee": chance.choice([1.0, 2.5]), "elite": chance.random() < 0.5,
                    "free": chance.choice([1, 1.5, "1", True, "x"]),
                }.items()
                if chance.random() < 0.6
            },
            tags=chance.sample(["boss", "night", "1"], chance.randrange(3)),
        )  # fmt: skip
        roots.append(made)


def _some(chance: random.Random, values: list[Any]) -> Any:
    return chance.choice(values) if chance.random() < 0.6 else chance.sample(values, min(2, len(values)))


def _filter(chance: random.Random) -> dict[str, Any]:
    def span() -> dict[str, int]:
        low = T0 + chance.randrange(12)
        both = {chance.choice(["gt", "gte"]): low, chance.choice(["lt", "lte"]): low + 2 + chance.randrange(9)}
        return dict(chance.sample(sorted(both.items()), chance.choice([1, 2])))

    parts: dict[str, Any] = {
        "status": lambda: _some(chance, [str(status) for status in Status]),
        "type": lambda: _some(chance, list(TYPES)),
        "id": lambda: _some(chance, [3, 5, 8]),
        "name": lambda: _some(chance, ["orc-3", "elf-4", "Orc-5"]),
        "name_prefix": lambda: chance.choice(["orc", "Orc-1", "óðr"]),
        "entity_id": lambda: _some(chance, [1, 2]),
        "correlation_id": lambda: _some(chance, ["wave-1", "wave-2"]),
        "parent_id": lambda: _some(chance, [1, 2, 3]),
        "root_id": lambda: _some(chance, [1, 2, 3]),
        "failure_category": lambda: _some(chance, ["application", "timeout"]),
        "tag": lambda: _some(chance, ["boss", "night", "1"]),
        "attributes": lambda: chance.choice(
            [{"zone": 1}, {"zone": [0, 2]}, {"fee": 1}, {"elite": True}, {"free": 1}, {"free": ["1", True]},
             {"zone": 1, "free": [1.5, "x"]}]
        ),
        "created": span,
        "updated": span,
        "deadline": span,
    }  # fmt: skip
    return {name: parts[name]() for name in chance.sample(sorted(parts), chance.choice([0, 1, 1, 2, 2, 3]))}


def test_b05_two_hundred_random_filters_in_all_four_ways() -> None:
    """B05, B30, B31, E37: results, their order and their number are the same with the index and by scan."""
    chance = random.Random(30)
    with make_rig() as rig:
        _populate(rig, chance, 60)
        trusted = rig.engine.trusted
        assert trusted
        found = 0
        for _ in range(200):
            wanted = _filter(chance)
            expected = naive(rig, wanted)
            found += bool(expected)
            for engine_trusts in (trusted, frozenset()):
                rig.engine.trusted = engine_trusts
                page = rig.call("workflow_list", wanted, 1_000)
                assert [item["id"] for item in page["items"]] == expected, wanted
                assert page["total"] == len(expected)
                assert page["used_index"] is bool(engine_trusts)
                assert page["cursor"] is None
            inside = rig.run(partial(_inside, wanted=wanted))
            assert [row.id for row in inside] == expected, wanted
        assert found > 60


def _inside(ctx: Any, wanted: dict[str, Any]) -> list[Any]:
    return matching(ctx, _struct(wanted))


def _struct(wanted: dict[str, Any]) -> ListFilter:
    return msgspec.convert(wanted, ListFilter)


def test_b34_aggregates_equal_group_by() -> None:
    """B34, B05: every dimension, filtered or not, in both modes; groups by count, then key; none left out."""
    chance = random.Random(34)
    with make_rig() as rig:
        _populate(rig, chance, 60)
        for by in ("status", "type", "failure_category", "tag", "attribute:zone", "attribute:free", "attribute:none"):
            wanted = _filter(chance)
            counted = rig.call("workflow_aggregate", by, wanted)
            matching_ids = naive(rig, wanted)
            assert counted["total"] == len(matching_ids)
            expected: dict[Any, int] = {}
            for id in matching_ids:
                for key in _keys(rig, by, id):
                    expected[repr(key)] = expected.get(repr(key), 0) + 1
            assert {repr(group["key"]): group["count"] for group in counted["groups"]} == expected
            counts = [group["count"] for group in counted["groups"]]
            assert counts == sorted(counts, reverse=True)
            assert not counted["truncated"]
            distrust(rig)
            assert rig.call("workflow_aggregate", by, wanted) == {**counted, "used_index": False}
            rig.crash()
            rig.reopen()


def _keys(rig: Rig, by: str, id: int) -> list[Any]:
    if by == "tag":
        return [row.tag for row in rig.rows("workflow_tag") if row.workflow_id == id] or [None]
    if by.startswith("attribute:"):
        return [rig.run(lambda ctx: attributes_of(ctx, id)).get(by.removeprefix("attribute:"))]
    value = getattr(rig.row("workflow", id), {"type": "workflow_type"}.get(by, by))
    return [None if value is None else str(value)]


def test_b34_groups_are_cut_only_where_it_says_so() -> None:
    """B34: ties by key, numbers as numbers; ``truncated`` tells that there are more."""
    with make_rig() as rig:
        for zone in (10, 9, 9, 2):
            put(rig, attributes={"zone": zone})
        counted = rig.call("workflow_aggregate", "attribute:zone", {}, 2)
        assert counted["groups"] == [{"key": 9, "count": 2}, {"key": 2, "count": 1}]
        assert (counted["truncated"], counted["total"]) == (True, 4)
        for wrong in ("zone", "attribute:", "created"):
            with pytest.raises(SenderError, match="no dimension"):
                rig.call("workflow_aggregate", wrong)


def test_b07_too_many_keys_are_an_error_and_never_a_cut() -> None:
    """B07: at the cap there is an answer, one past it there is none."""
    with make_rig(Limits(aggregate_keys_max=3)) as rig:
        for zone in range(3):
            put(rig, attributes={"zone": zone})
        assert len(rig.call("workflow_aggregate", "attribute:zone")["groups"]) == 3
        put(rig, attributes={"zone": 3})
        with pytest.raises(SenderError) as caught:
            rig.call("workflow_aggregate", "attribute:zone", {}, 1)
        assert (caught.value.code, caught.value.http_status, caught.value.details["cap"]) == ("too_many_groups", 422, 3)


def test_b06_a_scan_looks_at_no_more_than_its_cap() -> None:
    """B06, B09: narrow it, or backfill; with the index there is no scan. Never a short answer."""
    with make_rig(Limits(list_scan_rows_max=100)) as rig:
        for n in range(101):
            put(rig, entity_id=n % 50, workflow_type="buff" if n else "combat", attributes={"zone": n} if n < 3 else {})
        assert rig.call("workflow_list")["total"] == 101
        distrust(rig)
        for name, args in (("workflow_list", ()), ("workflow_aggregate", ("status",))):
            with pytest.raises(SenderError) as caught:
                rig.call(name, *args)
            error = caught.value
            assert (error.code, error.http_status, error.details["cap"]) == ("list_scan_cap_exceeded", 422, 100)
            assert "narrow it" in error.message
            assert "reactor backfill-visibility" in error.message
        with pytest.raises(SenderError):
            rig.call("workflow_list", {"updated": {"gte": 0}})
        for narrow in (
            {"entity_id": 7}, {"type": "buff"}, {"id": [1, 2]}, {"name_prefix": "wf-10"}, {"attributes": {"zone": 1}},
        ):  # fmt: skip
            assert pages(rig, narrow) == naive(rig, narrow)
        put(rig, workflow_type="buff")
        with pytest.raises(SenderError):
            rig.call("workflow_list", {"type": "buff"})


def _delete(ctx: Any, victim: int) -> None:
    ctx.db.workflow.delete(victim)


def test_b32_pages_by_cursor_neither_skip_nor_repeat() -> None:
    """B31, B32: rows are inserted at every place while the pages are read, and changed, and removed."""
    chance = random.Random(32)
    with make_rig() as rig:
        for _ in range(40):
            put(rig, created_at=T0 + chance.randrange(10))
        before = naive(rig, {})
        for trusts in (rig.engine.trusted, frozenset()):
            rig.engine.trusted = trusts
            seen: list[int] = []
            cursor: str | None = None
            gone = set()
            while True:
                page = rig.call("workflow_list", {}, 7, 0, cursor)
                seen += [item["id"] for item in page["items"]]
                cursor = page["cursor"]
                if cursor is None:
                    break
                put(rig, created_at=T0 + chance.randrange(-5, 20))
                unseen = [id for id in before if id not in seen]
                if unseen:
                    victim = chance.choice(unseen)
                    gone.add(victim)
                    rig.run(partial(_delete, victim=victim))
            assert len(seen) == len(set(seen))
            assert [id for id in seen if id in before] == [id for id in before if id not in gone]
            before = naive(rig, {})


def test_b32_pages_by_offset() -> None:
    """B32: items, total, offset and limit as asked."""
    with make_rig() as rig:
        ids = [put(rig) for _ in range(5)]
        page = rig.call("workflow_list", {}, 2, 3)
        assert [item["id"] for item in page["items"]] == ids[3:]
        assert (page["total"], page["offset"], page["limit"], page["cursor"]) == (5, 3, 2, None)
        assert rig.call("workflow_list", {}, 2, 9)["items"] == []
        assert rig.call("workflow_list", {}, 2, 0, None, False)["total"] is None


def test_an_item_tells_all_that_a_list_shows() -> None:
    """Columns of the row, attributes with their types, tags; not the state."""
    with make_rig() as rig:
        id = put(rig, entity_id=4, attributes={"zone": 3, "fee": 2, "free": "3"}, tags=["b", "a"], state="[1]")
        (item,) = rig.call("workflow_list")["items"]
        assert item["attributes"] == {"fee": 2.0, "free": "3", "zone": 3}
        assert item["tags"] == ["a", "b"]
        assert (item["id"], item["entity_id"], item["status"]) == (id, 4, "Suspended")
        assert "state" not in item


@pytest.mark.parametrize(
    "wanted",
    [
        {"colour": "red"},
        {"status": "Sleeping"},
        {"status": []},
        {"type": ""},
        {"name_prefix": "or"},
        {"created": {}},
        {"created": {"after": 1}},
        {"created": {"gt": 1, "gte": 1}},
        {"created": {"gte": 5, "lt": 5}},
        {"deadline": {"lte": "soon"}},
        {"attributes": {}},
        {"attributes": {"zone": "north"}},
        {"attributes": {"zone": None}},
        {"attributes": {"zone": []}},
        {"attributes": {"zone": {"gt": 1}}},
        {"entity_id": "7"},
        {"tag": []},
        {"id": list(range(101))},
    ],
)
def test_b33_a_filter_that_means_nothing_is_refused(wanted: dict[str, Any]) -> None:
    """B33: an empty page would look like an answer. Also for aggregates."""
    with make_rig() as rig:
        for name, args in (("workflow_list", (wanted,)), ("workflow_aggregate", ("status", wanted))):
            with pytest.raises(SenderError) as caught:
                rig.call(name, *args)
            assert caught.value.code == "bad_arguments"


@pytest.mark.parametrize("limit", [0, -1, 1_001])
def test_b33_so_is_a_page_without_end(limit: int) -> None:
    """B33: bounds of a page."""
    with make_rig() as rig, pytest.raises(SenderError, match="limit"):
        rig.call("workflow_list", {}, limit)


def test_b33_a_cursor_that_is_none_is_refused() -> None:
    """B33: garbage, another filter's, together with an offset."""
    with make_rig() as rig:
        for _ in range(3):
            put(rig)
        cursor = rig.call("workflow_list", {}, 1)["cursor"]
        for wanted, offset, given in (
            ({}, 0, "garbage!"), ({}, 0, "W10"), ({}, 0, cursor[:-3]), ({}, 0, ""), ({}, 0, "é"),
            ({"type": "buff"}, 0, cursor), ({}, 1, cursor),
        ):  # fmt: skip
            with pytest.raises(SenderError) as caught:
                rig.call("workflow_list", wanted, 1, offset, given)
            assert caught.value.code == "bad_arguments"
        assert rig.call("workflow_list", {}, 1, 0, cursor)["items"][0]["id"] == 2


def test_the_plans_use_the_index() -> None:
    """A list by status or type reads its own index in order; a selective filter is never answered by a scan."""

    with make_rig() as rig:
        ctx = ReportContext(Caller(None), 0, DEFAULT_LIMITS, frozenset({INDEX}))

        def plan(wanted: dict[str, Any]) -> str:
            statement = list_query(ctx, {}, _struct(wanted), 50, 0, None, False).statements[-1]
            connection = rig.storage.projection_connection()
            rows = connection.execute(f"EXPLAIN QUERY PLAN {statement.sql}", statement.params)
            return " / ".join(row[3] for row in rows)

        for wanted, index in (
            ({}, "created_at"),
            ({"status": "Failed"}, "status,created_at"),
            ({"type": "x"}, "workflow_type,created_at,id,status"),
        ):
            shown = plan(wanted)
            assert f"INDEX workflow_visibility({index})" in shown, shown
            assert "SCAN v USING COVERING INDEX" in shown or "SEARCH v" in shown
            assert shown.count("TEMP B-TREE") <= 1, shown
        selective: list[dict[str, Any]] = [
            {"entity_id": 1, "status": "Failed"},
            {"attributes": {"zone": 1}, "type": "x"},
            {"tag": "a"},
            {"name_prefix": "orc"},
        ]
        for wanted in selective:
            shown = plan(wanted)
            assert "SEARCH v USING INTEGER PRIMARY KEY" in shown, shown
            assert "SCAN v" not in shown


@pytest.mark.parametrize(
    "wanted",
    [
        {"id": 1 << 63}, {"entity_id": [1, 1 << 63]}, {"root_id": 1 << 63}, {"created": {"gt": 1 << 63}},
        {"attributes": {f"a{number}": 1 for number in range(33)}},
        {"attributes": {f"a{number}": list(range(50)) for number in range(3)}},
    ],
)  # fmt: skip
def test_b33_a_filter_that_no_statement_can_hold_is_refused(wanted: dict[str, Any]) -> None:
    """B33: numbers past 64 bits, and more attributes than a workflow can have."""
    with make_rig() as rig:
        for report, args in (("workflow_list", [wanted]), ("workflow_aggregate", ["status", wanted])):
            with pytest.raises(SenderError) as refused:
                rig.call(report, *args)
            assert refused.value.code == "bad_arguments"


def test_b33_a_made_up_cursor_with_a_huge_number_is_refused() -> None:
    """B33: like any other that the server did not give."""
    with make_rig() as rig, pytest.raises(SenderError) as refused:
        rig.call("workflow_list", {}, 1, 0, Cursor(1 << 63, 1, ListFilter().fingerprint).encoded())
    assert refused.value.code == "bad_arguments"
