"""``reactor.schema``: declarations, their refusals, and what a later start may add."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import pytest

from reactor.columns import F32, U8, U16, U32, Duration, Json, Timestamp
from reactor.errors import Refusal
from reactor.schema import TableSchema, additions, check_name, declare_table, index, primary_key, snake_case


class Mood(enum.StrEnum):
    """An enum column."""

    CALM = "calm"
    ANGRY = "angry"


class Npc:
    """A declaration with a bit of everything."""

    id: int = primary_key(auto=True)
    zone: U32
    mood: Mood = Mood.CALM
    note: str | None = None
    state: Json = {}

    @property
    def is_calm(self) -> bool:
        """Rows keep the author's properties."""
        return self.mood is Mood.CALM

    def label(self) -> str:
        """Rows keep the author's methods."""
        return f"npc {self.id}"


def test_what_a_declaration_says() -> None:
    """Columns in order, key, defaults and indexes are as written; rows are frozen and keep methods."""
    schema = declare_table(Npc, public=True, indexes=["zone", index("zone", "mood", ordered=True)], unique=[("note",)])
    assert schema.name == "npc"
    assert schema.column_names == ("id", "zone", "mood", "note", "state")
    assert (schema.primary_key, schema.key_position, schema.auto, schema.public) == ("id", 0, True, True)
    assert [(i.columns, i.ordered, i.unique) for i in schema.indexes] == [
        (("zone",), False, False),
        (("zone", "mood"), True, False),
        (("note",), False, True),
    ]
    assert schema.column("note").default_value() is None
    row = schema.row_type(7, 1, Mood.CALM, None, {})
    assert row.is_calm
    assert row.label() == "npc 7"
    assert type(row).__name__ == "Npc"
    with pytest.raises(AttributeError):
        row.zone = 2
    with pytest.raises(KeyError):
        schema.column("nope")


def test_names() -> None:
    """Class names become table names; names that SQL or the reactor need are refused."""
    assert [snake_case(n) for n in ("Monster", "EntityEffect", "HTTPLog", "A2B")] == [
        "monster",
        "entity_effect",
        "http_log",
        "a2_b",
    ]
    assert check_name("a" * 63, "x") == "a" * 63
    for bad in ("", "A", "1a", "a-b", "a" * 64, "sqlite_x", "sqlite", "reactor_meta", "_a", "é", 'a"b', "a\n"):
        with pytest.raises(Refusal, match="not a usable name"):
            check_name(bad, "x")


def _class(annotations: dict[str, Any], **defaults: Any) -> type:
    return type("Thing", (), {"__annotations__": annotations, **defaults})


def _declared(annotations: dict[str, Any], options: dict[str, Any] | None = None, **defaults: Any) -> Callable[[], Any]:
    return lambda: declare_table(_class(annotations, **defaults), **(options or {}))


KEY = primary_key()
TIMER = {"scheduled_id": int, "scheduled_at": Timestamp}
AUTO = primary_key(auto=True)

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "no columns": (_declared({}), "declares no columns"),
    "no key": (_declared({"a": int}), "needs a primary key"),
    "two keys": (_declared({"a": int, "b": int}, a=KEY, b=KEY), "a is already the primary key"),
    "optional key": (_declared({"a": int | None}, a=KEY), "cannot be optional"),
    "float key": (_declared({"a": float}, a=KEY), "cannot be the primary key"),
    "f32 key": (_declared({"a": F32}, a=KEY), "cannot be the primary key"),
    "json key": (_declared({"a": Json}, a=KEY), "cannot be the primary key"),
    "auto text": (_declared({"a": str}, a=AUTO), "needs an integer column"),
    "auto small": (_declared({"a": U16}, a=AUTO), "needs an integer column"),
    "unresolved": (_declared({"a": "Nowhere"}, a=KEY), "cannot be resolved"),
    "odd type": (_declared({"a": int, "b": complex}, a=KEY), "is not a column type"),
    "two types": (_declared({"a": int, "b": int | str}, a=KEY), "a column holds one type"),
    "default too large": (_declared({"a": int, "b": U8}, a=KEY, b=256), "the default 256 does not fit"),
    "default of another type": (_declared({"a": int, "b": str}, a=KEY, b=1), "does not fit"),
    "default None": (_declared({"a": int, "b": str}, a=KEY, b=None), "not optional"),
    "default enum": (_declared({"a": int, "b": Mood}, a=KEY, b="sad"), "calm, angry"),
    "column name": (_declared({"a": int, "B": int}, a=KEY), "not a usable name"),
    "table name": (_declared({"a": int}, {"name": "Big"}, a=KEY), "not a usable name"),
    "index nowhere": (_declared({"a": int}, {"indexes": ["b"]}, a=KEY), "there is no column b; the columns are a"),
    "index of nothing": (_declared({"a": int}, {"indexes": [index()]}, a=KEY), "at least one"),
    "index twice the column": (_declared({"a": int}, {"indexes": [index("a", "a")]}, a=KEY), "each column once"),
    "index twice": (_declared({"a": int, "b": int}, {"indexes": ["b", index("b")]}, a=KEY), "declared twice"),
    "unique and index": (_declared({"a": int, "b": int}, {"indexes": ["b"], "unique": ["b"]}, a=KEY), "twice"),
    "index json": (_declared({"a": int, "b": Json}, {"indexes": ["b"]}, a=KEY), "json column cannot be indexed"),
    "scheduled without due": (_declared({"scheduled_id": int}, {"scheduled": "r"}, scheduled_id=AUTO), "scheduled_at"),
    "scheduled without auto": (_declared(TIMER, {"scheduled": "r"}, scheduled_id=KEY), "auto=True"),
    "scheduled with another key": (
        _declared({**TIMER, "x": int}, {"scheduled": "r"}, x=AUTO),
        "primary key must be `scheduled_id",
    ),
    "scheduled with a plain int due": (
        _declared({"scheduled_id": int, "scheduled_at": int}, {"scheduled": "r"}, scheduled_id=AUTO),
        "column scheduled_at of type timestamp",
    ),
    "scheduled with a wrong option": (
        _declared({**TIMER, "interval": int}, {"scheduled": "r"}, scheduled_id=AUTO),
        "interval must be of type duration",
    ),
    "scheduled with a number as clock": (
        _declared({**TIMER, "clock": int}, {"scheduled": "r"}, scheduled_id=AUTO),
        "clock must be of type text",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_declarations_are_refused_with_the_reason(case: str) -> None:
    """Each mistake is refused when it is declared, in words that say which table and column."""
    declare, reason = REFUSED[case]
    with pytest.raises(Refusal) as caught:
        declare()
    assert caught.value.code == "bad_declaration"
    assert reason in caught.value.message
    assert "thing" in caught.value.message or "Thing" in caught.value.message


def test_a_schema_survives_being_stored() -> None:
    """What was stored equals what was declared; its rows are arrays with the same fields."""
    schema = declare_table(Npc, public=True, indexes=["zone"], unique=["note"])
    back = TableSchema.from_json(schema.to_json())
    assert back.to_json() == schema.to_json()
    assert back.row_type(1, 2, "calm", None, {}).zone == 2
    assert not additions({"npc": back}, {"npc": schema})


def _schema(annotations: dict[str, Any], options: dict[str, Any] | None = None, **defaults: Any) -> TableSchema:
    return declare_table(_class({"id": int, **annotations}, id=primary_key(), **defaults), **(options or {}))


class MoodBefore(enum.StrEnum):
    """``Mood`` before it grew."""

    CALM = "calm"


def test_additions_that_are_taken() -> None:
    """New tables, columns with a default, indexes, enum values, visibility, a column that becomes optional."""
    old = {"thing": _schema({"a": int, "mood": MoodBefore}, {"indexes": ["a"]})}
    new = {
        "thing": _schema(
            {"a": int | None, "mood": Mood, "b": int, "c": str | None}, {"unique": ["b"], "public": True}, b=7
        ),
        "other": _schema({}, {"name": "other"}),
    }
    found = additions(old, new)
    assert found
    assert found.tables == ("other",)
    assert found.columns == (("thing", "b"), ("thing", "c"))
    assert found.indexes_changed == ("thing",)
    assert found.settings_changed == ("thing",)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (_schema({"a": int}), None, "table thing is gone"),
        (_schema({"a": int}), _schema({}), "column thing.a is gone"),
        (_schema({"a": int}), _schema({"a": str}), "was i64 and is now text"),
        (_schema({"a": Timestamp}), _schema({"a": Duration}), "was timestamp and is now duration"),
        (_schema({"a": int | None}), _schema({"a": int}), "keep it optional"),
        (_schema({"a": Mood}), _schema({"a": MoodBefore}), "lost the enum values angry"),
        (_schema({}), _schema({"a": int}), "needs a default"),
        (
            _schema({"a": int}),
            declare_table(_class({"id": int, "a": int}, a=primary_key()), name="thing"),
            "the primary key of thing was id",
        ),
    ],
)
def test_changes_that_are_not_additive_are_refused(old: TableSchema, new: TableSchema | None, reason: str) -> None:
    """Each is named, with what to do."""
    with pytest.raises(Refusal) as caught:
        additions({"thing": old}, {} if new is None else {"thing": new})
    assert caught.value.code == "schema_conflict"
    assert reason in caught.value.message
    assert len(caught.value.details["problems"]) == 1


def test_all_problems_are_told_at_once() -> None:
    """An operator mends them in one go."""
    with pytest.raises(Refusal) as caught:
        additions({"thing": _schema({"a": int, "b": int})}, {"thing": _schema({"a": str})})
    assert len(caught.value.details["problems"]) == 2
