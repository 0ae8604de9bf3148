"""What a filter chooses, and which filters are no scope."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reactor import SenderError
from reactor.testing import Rig
from tests.workflows.checks import picture
from tests.workflows.conftest import MakeRig
from tests.workflows.groups.conftest import MakeGroups
from tests.workflows.samples import Counter, Nap, Parent
from workflows import LIVE, WorkflowEngine
from workflows.groups import Selection, matching

ALICE = "a" * 32


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "no scope"),
        ({"created_after": 5}, "no scope"),
        ({"updated_before": 5, "created_before": 9}, "no scope"),
        ({"failure_category": "defect"}, "no scope"),
        ({"failure_category": "defect", "created_after": 1}, "no scope"),
        ({"name_prefix": "bo"}, "too short"),
        ({"name_prefix": ""}, "empty"),
        ({"type": []}, "empty"),
        ({"attributes": {}}, "empty"),
        ({"zone": 1, "attributes": {"zone": 2}}, "give one"),
        ({"colour": "red"}, "unknown field `colour`"),
        ({"status": "Sleeping"}, "Sleeping"),
        ({"ids": ["one"]}, "Expected `int`"),
    ],
)
def test_b35_a_filter_without_a_scope_or_sense_is_refused(make_rig: MakeRig, given: Any, told: str) -> None:
    """B35, B33, F9: each refused form, for the preview and for the command; nothing is changed."""
    rig = make_rig(Counter)
    rig.start("counter")
    before = picture(rig)
    for call in (("workflow_group_preview", "cancel", given), ("workflow_group", "cancel", given)):
        args = call[1:] if call[0].endswith("preview") else (*call[1:], None, None, "why")
        with pytest.raises(SenderError) as caught:
            rig.call(call[0], *args)
        assert caught.value.code == "bad_arguments"
        assert told in caught.value.message
    assert picture(rig) == before


@pytest.mark.parametrize(
    "given",
    [
        {"ids": [1]}, {"type": "counter"}, {"entity_id": 7}, {"correlation_id": "raid"}, {"status": "Suspended"},
        {"parent_id": 1}, {"root_id": 1}, {"name_prefix": "cou"}, {"tag": "x"}, {"attributes": {"a": 1}},
        {"zone": "north"}, {"ids": []},
    ],
)  # fmt: skip
def test_b35_each_scope_alone_is_enough(make_rig: MakeRig, given: Any) -> None:
    """B35: ids, type, entity, correlation, status, parent, root, prefix, tag, attribute, zone."""
    rig = make_rig(Counter)
    rig.start("counter", entity_id=7, correlation_id="raid")
    assert rig.call("workflow_group_preview", "signal", given)["count"] in (0, 1)


def test_a_correlation_id_is_exactly_its_group(make_groups: MakeGroups) -> None:
    """A50, REQ-13: signals by correlation id, entity, type and status touch those alone, live ones only."""
    rig = make_groups(Counter, Nap, at_once=100)
    raid = [rig.start("counter", entity_id=i, correlation_id="raid") for i in range(4)]
    others = [rig.start("counter", entity_id=9), rig.start("nap", correlation_id="raid", payload={"delay_us": 9_000})]
    rig.call("workflow_signal", raid[3], "finish")
    answer = rig.call(
        "workflow_group", "signal", {"correlation_id": "raid", "type": "counter"}, None, None, "", "add", 1
    )
    assert [result["id"] for result in answer["results"]] == raid[:3]
    rig.call("workflow_group", "signal", {"entity_id": [1, 9]}, None, None, "", "add", 10)
    totals = [rig.row("workflow", workflow_id).state for workflow_id in (*raid[:3], others[0])]
    assert [state.split(",")[0] for state in totals] == ['{"total":1', '{"total":11', '{"total":1', '{"total":10']
    cancelled = rig.call("workflow_group", "cancel", {"correlation_id": "raid"}, None, None, "over")
    assert [result["id"] for result in cancelled["results"]] == [*raid[:3], others[1]]
    assert {rig.row("workflow", i).status for i in raid} == {"Cancelled", "Completed"}


def test_named_ids_are_each_answered(make_groups: MakeGroups) -> None:
    """Whoever names a workflow is told if there is none, or if it has ended; whoever describes them is not."""
    rig = make_groups(Counter, at_once=100)
    one, two = rig.start("counter"), rig.start("counter")
    rig.call("workflow_cancel", two, "x")
    answer = rig.call("workflow_group", "signal", {"ids": [two, 77, one, one]}, None, None, "", "add", 1)
    assert [(r["id"], r["outcome"], r.get("code")) for r in answer["results"]] == [
        (one, "applied", None), (two, "refused", "not_active"), (77, "refused", "unknown_workflow"),
    ]  # fmt: skip
    assert rig.call("workflow_group_preview", "signal", {"ids": [two, 77, one]})["unknown"] == 1
    assert rig.call("workflow_group_preview", "signal", {"type": "counter"})["count"] == 1


def test_too_wide_a_filter_is_refused_and_never_cut(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """F8: a group is whole or refused; clients may have less looked at than the owner."""
    rig = make_rig(Counter)
    rig.call("workflow_start_batch", [{"type": "counter", "correlation_id": f"c{i % 2}"} for i in range(40)])
    monkeypatch.setattr(matching, "CLIENT_LOOKED_AT_MAX", 20)
    with pytest.raises(SenderError, match="look at 40 workflows, found by type, and 20 are allowed") as caught:
        rig.call("workflow_group_preview", "signal", {"type": "counter"}, sender=ALICE)
    assert caught.value.code == "limit_exceeded"
    assert rig.call("workflow_group_preview", "signal", {"type": "counter"})["count"] == 40
    found = rig.call("workflow_group_preview", "signal", {"type": "counter", "correlation_id": "c1"}, sender=ALICE)
    assert found["count"] == 20


# -- against a naive filter ------------------------------------------------------------------------

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "ids": st.lists(st.integers(0, 40), max_size=8),
    "type": st.sampled_from(["counter", "nap", ["counter", "parent"], "nope"]),
    "entity_id": st.sampled_from([0, 1, [1, 2], 99]),
    "correlation_id": st.sampled_from(["a", "b", ["a", "c"], "none"]),
    "status": st.sampled_from(["Suspended", ["Cancelled", "Completed"], "Failed"]),
    "parent_id": st.integers(1, 30),
    "failure_category": st.just("defect"),
    "name_prefix": st.sampled_from(["counter", "nap-1", "none"]),
    "root_id": st.integers(1, 30),
    "tag": st.sampled_from(["even", ["even", "third"], "none"]),
    "zone": st.sampled_from(["north", 3]),
    "attributes": st.sampled_from([{"level": 1}, {"level": 1.0, "boss": True}, {"level": "1"}]),
    "created_after": st.integers(0, 30),
    "created_before": st.integers(0, 30),
    "updated_after": st.integers(0, 40),
    "updated_before": st.integers(0, 40),
}
START_US = 1_700_000_000_000_000


def _attributes(workflow_id: int) -> dict[str, Any]:
    return {"zone": 3 if workflow_id % 2 else "north", "level": workflow_id % 3, "boss": workflow_id % 4 == 0}


def _naive(rows: list[Any], wanted: dict[str, Any]) -> list[int]:
    def matches(row: Any) -> bool:
        for name, value in wanted.items():
            several = value if isinstance(value, list) else [value]
            if name == "ids":
                holds = row.id in several
            elif name == "name_prefix":
                holds = row.name.startswith(value)
            elif name == "tag":
                holds = all(row.id % {"even": 2, "third": 3}.get(tag, 99) == 0 for tag in several)
            elif name in ("zone", "attributes"):
                wanted_values = value if name == "attributes" else {"zone": value}
                holds = all(_attributes(row.id).get(key) == what for key, what in wanted_values.items())
            elif name.endswith("_after"):
                holds = getattr(row, name.replace("_after", "_at")) >= value
            elif name.endswith("_before"):
                holds = getattr(row, name.replace("_before", "_at")) < value
            else:
                holds = getattr(row, "workflow_type" if name == "type" else name) in several
            if not holds:
                return False
        return True

    return [row.id for row in rows if matches(row)]


@pytest.fixture(scope="module")
def crowd() -> Any:
    """Workflows of every kind and status, made a microsecond apart."""
    with Rig(WorkflowEngine([Counter, Nap, Parent]), start_us=START_US) as rig:
        for i in range(24):
            name = ("counter", "nap", "parent")[i % 3]
            payload = {"delay_us": 10_000_000} if name == "nap" else {"payload": {"delay_us": 10_000_000}}
            rig.start(
                name, entity_id=i % 4 or None, correlation_id="abc"[i % 3] if i % 5 else None,
                payload=payload if name != "counter" else None,
            )  # fmt: skip
            rig.advance(1)
        for row in rig.rows("workflow"):
            rig.call("workflow_set_attributes", row.id, _attributes(row.id))
            rig.call("workflow_tag", row.id, [tag for tag, n in (("even", 2), ("third", 3)) if row.id % n == 0])
        for row in rig.rows("workflow")[::5]:
            if row.status in LIVE:
                rig.call("workflow_cancel", row.id, "x")
                rig.advance(1)
        yield rig


@given(wanted=st.fixed_dictionaries({}, optional=VALUES))
@settings(max_examples=200, deadline=None)
def test_a_filter_chooses_what_a_naive_one_does(crowd: Rig, wanted: dict[str, Any]) -> None:
    """B30: every combination, whichever index is walked; in the order of the ids."""
    for name in wanted:
        if name.endswith(("_after", "_before")):
            wanted[name] += START_US
    rows = crowd.rows("workflow")
    selection = Selection(**wanted)
    found = crowd.run(lambda ctx: [row.id for row in matching.find(ctx, selection, None)])
    assert found == _naive(rows, wanted)
    live = crowd.run(lambda ctx: [row.id for row in matching.find(ctx, selection, LIVE)])
    implied = {} if "status" in wanted or "ids" in wanted else {"status": sorted(LIVE)}
    assert live == _naive(rows, {**wanted, **implied})


@pytest.mark.parametrize("huge", [{"ids": [1 << 63]}, {"entity_id": 1 << 63}, {"ids": [1], "created_after": 1 << 63}])
def test_numbers_that_no_row_can_have_are_refused(make_rig: MakeRig, huge: dict[str, Any]) -> None:
    """B35: before anything is looked up, digested or stored."""
    rig = make_rig(Counter)
    for reducer, *more in (("workflow_group_preview",), ("workflow_group", None, "once", "so")):
        with pytest.raises(SenderError) as refused:
            rig.call(reducer, "cancel", huge, *more)
        assert refused.value.code == "bad_arguments"


@pytest.mark.parametrize(
    ("given", "count"),
    [("entity_id", 10_001), ("correlation_id", 10_001), ("tag", 33), ("ids", 100_001), ("attributes", 33)],
)
def test_a_filter_names_only_so_much(make_rig: MakeRig, given: str, count: int) -> None:
    """B35: every value is looked up before the first row is tested, so their number is bounded."""
    rig = make_rig(Counter)
    texts = given in ("correlation_id", "tag", "attributes")
    values: list[Any] = [f"x{number}" if texts else number for number in range(count)]
    for many, code in ((values, "limit_exceeded"), (values[:-1], None)):
        chosen: Any = dict.fromkeys(many, 1) if given == "attributes" else many
        # Not by a message: the largest have no room in one.
        try:
            Selection(**{given: chosen}).check()
        except SenderError as error:
            assert error.code == code
        else:
            assert code is None
    assert rig.rows("workflow") == []
