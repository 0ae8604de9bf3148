"""Reports: calls that are answered from SQL and run no reducer."""

from __future__ import annotations

from typing import Any

import pytest

from reactor import Module, Refusal, SenderError, primary_key
from reactor.assembly import compose, describe
from reactor.derived import DerivedIndex, SqlIndex
from reactor.limits import Limits
from reactor.reports import Query, ReportContext
from reactor.sql.messages import Statement
from reactor.testing import Rig

INDEX = DerivedIndex("monster_list", "monster", 1, ("zone",), (SqlIndex(("zone",)),))


def _module(index: DerivedIndex = INDEX) -> Module:
    module = Module("arena")

    @module.table(public=True)
    class Monster:
        id: int = primary_key(auto=True)
        zone: int

    @module.reducer
    def spawn(ctx: Any, zone: int) -> int:
        made: int = ctx.db.monster.insert(zone=zone).id
        return made

    def zones(ctx: ReportContext, at_least: int = 0) -> Query:
        table = index.name if ctx.is_trusted(index) else "monster"
        sql = f"SELECT zone, COUNT(*) FROM {table} WHERE zone >= ? GROUP BY zone"
        return Query([Statement(sql, [at_least])], lambda results: {str(zone): n for zone, n in results[0]})

    def capped(ctx: ReportContext) -> Query:
        refusal = {"code": "limit_exceeded", "message": "too many monsters", "cap": 1}
        return Query([Statement("SELECT COUNT(*) FROM monster", [], 1, refusal)], lambda results: results)

    def broken(ctx: ReportContext, where: str) -> Query:
        if where == "plan":
            raise ZeroDivisionError
        sql = "SELECT nothing FROM monster" if where == "sql" else "SELECT 1"
        return Query([Statement(sql)], lambda results: 1 // 0)

    def secret(ctx: ReportContext) -> Query:
        return Query([], lambda results: "told")

    @module.report
    def decorated(ctx: ReportContext) -> Query:
        return Query([], lambda results: "told")

    assert decorated.__name__ == "decorated"

    def endless(ctx: ReportContext) -> Query:
        sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"
        return Query([Statement(sql)], lambda results: None)

    module.derived_index(index)
    for function in (zones, capped, broken, endless):
        module.report(function)
    module.report(secret, access="owner")
    return module


def _code(action: Any) -> str:
    with pytest.raises(Exception) as caught:
        action()
    return str(getattr(caught.value, "code", caught.value))


def test_a_report_is_called_like_a_reducer_and_sees_what_came_before() -> None:
    """Pipelined behind calls on one connection, it is answered in its turn and sees what they did."""
    with Rig(_module()) as rig:
        client = rig.connect("a" * 32)
        messages: list[dict[str, Any]] = [
            {"call": "spawn", "args": [3]},
            {"call": "zones", "args": {"at_least": 2}},
            {"call": "spawn", "args": [3]},
        ]
        for number, message in enumerate(messages):
            client.send({"id": number, **message})
        rig.settle()
        answers = [message for message in client.received if "id" in message]
        assert [answer["id"] for answer in answers] == [0, 1, 2]
        assert answers[1]["ok"] in ({"3": 1}, {"3": 2})  # what came after it may be seen too
        assert rig.call("zones") == {"3": 2}
        assert rig.call("zones", 4) == {}


def test_mistakes_are_told_like_those_of_reducers() -> None:
    """Arguments, access, caps of its own, defects."""
    with Rig(_module()) as rig:
        rig.call("spawn", 1)
        rig.call("spawn", 1)
        assert _code(lambda: rig.call("zones", "x")) == "bad_arguments"
        assert _code(lambda: rig.call("secret", sender="a" * 32)) == "forbidden"
        assert rig.call("secret") == "told"
        with pytest.raises(SenderError) as caught:
            rig.call("capped")
        assert (caught.value.code, caught.value.details["cap"]) == ("limit_exceeded", 1)
        for where in ("plan", "sql", "shape"):
            assert _code(lambda where=where: rig.call("broken", where)) == "internal"
        assert _code(lambda: rig.batch(("spawn", 1), ("zones",))) == "bad_message"
        assert rig.call("zones") == {"1": 2}


def test_a_report_has_the_deadline_of_any_query() -> None:
    """It is stopped, and the next one runs."""
    with Rig(_module(), limits=Limits(sql_deadline_s=0.05)) as rig:
        assert _code(lambda: rig.call("endless")) == "sql_deadline"
        assert rig.call("zones") == {}


def test_reports_go_on_while_nothing_can_be_written() -> None:
    """A read-only store answers them."""
    with Rig(_module()) as rig:
        rig.call("spawn", 1)
        rig.engine.halted = "the disk is full"
        assert _code(lambda: rig.call("spawn", 1)) == "read_only"
        assert rig.call("zones") == {"1": 1}
        rig.engine.halted = None


def test_b03_the_index_is_used_when_it_can_be_trusted() -> None:
    """B03: otherwise the report is told so, and asks the table."""
    with Rig(_module()) as rig:
        rig.call("spawn", 5)
        assert rig.engine.trusted == {INDEX}
        rig.sql("SELECT zone FROM monster_list")
        assert _code(lambda: rig.sql("SELECT zone FROM monster_list", owner=False)) == "sql_forbidden"
        rig.engine.trusted = frozenset()
        assert rig.call("zones") == {"5": 1}
        rig.crash()
        rig.reopen()
        assert rig.engine.trusted == {INDEX}


def test_b03_another_derivation_comes_with_a_start() -> None:
    """B03: a reload cannot fill an index anew, so it says so; a start does not trust what is there."""
    newer = DerivedIndex(INDEX.name, INDEX.table, 2, INDEX.columns, INDEX.indexes)
    with Rig(_module()) as rig:
        rig.call("spawn", 5)
        with pytest.raises(Refusal) as caught:
            rig.reload(_module(newer))
        assert caught.value.code == "restart_needed"
        rig.crash()
        rig.reopen(_module(newer))
        assert rig.engine.trusted == frozenset()
        assert rig.call("zones") == {"5": 1}


def test_declarations_are_checked_and_described() -> None:
    """Names clash with nothing, and `describe` shows reports."""
    module = _module()
    with pytest.raises(Refusal):
        module.report(lambda ctx: Query([], len), name="spawn")
    with pytest.raises(Refusal):
        module.derived_index(INDEX)
    with pytest.raises(Refusal):
        module.report(lambda ctx: Query([], len), name="routed", route="monsters")
    shown = {report["name"]: report for report in describe(compose(module))["reports"]}
    assert shown["zones"]["params"] == [{"name": "at_least", "type": "int", "required": False}]
    assert shown["secret"]["access"] == "owner"
    assert "decorated" in shown
    other = Module("other")
    other.derived_index(INDEX)
    with pytest.raises(Refusal, match="no table monster"):
        compose(other)
