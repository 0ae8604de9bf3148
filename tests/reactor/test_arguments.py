"""``reactor.arguments``: decoded by position or name, checked, and explained when they do not fit."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import pytest

from reactor.arguments import Arguments
from reactor.columns import U8, U64, U256, Json
from reactor.errors import Refusal, SenderError


class Mood(enum.StrEnum):
    """An enum argument."""

    CALM = "calm"


def _plain(ctx: Any, kind: str, entity: int | None, level: U8 = 3, tags: list[U8] | None = None) -> None: ...


def _typed(ctx: Any, big: U256, mood: Mood, state: Json, ids: dict[str, list[U64]], share: float) -> None: ...


PLAIN = Arguments(_plain, "reducer plain")
TYPED = Arguments(_typed, "reducer typed")
GOOD = b'[%d,"calm",{"a":[1]},{"x":[1]},0.5]'


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        (b'["buff",42]', ("buff", 42, 3, None)),
        (b'["buff",null,9,[1,2]]', ("buff", None, 9, [1, 2])),
        (b' ["buff", 42] ', ("buff", 42, 3, None)),
        (b'{"kind":"buff","entity":42}', ("buff", 42, 3, None)),
        (b'\n{"entity":null,"level":9,"kind":"buff"}', ("buff", None, 9, None)),
    ],
)
def test_a23_by_position_or_by_name(raw: bytes, values: tuple[Any, ...]) -> None:
    """A23: both forms, with defaults and null."""
    assert PLAIN.decode(raw) == values


def test_no_arguments() -> None:
    """An empty text is an empty list."""

    def _none(ctx: Any) -> None: ...

    none = Arguments(_none, "r")
    assert none.decode(b"") == none.decode(b"[]") == none.decode(b"{}") == ()
    assert PLAIN.convert(("buff", 42, 7)) == ("buff", 42, 7, None)


@pytest.mark.parametrize(
    ("raw", "parameter", "text"),
    [
        (b"[]", "kind", "parameter kind is missing; it takes (kind, entity, level=…, tags=…)"),
        (b'["buff"]', "entity", "parameter entity is missing"),
        (b'["buff",1,2,[],5]', None, "5 arguments are too many"),
        (b"[1,2]", "kind", "parameter kind: Expected `str`, got `int`"),
        (b'["buff",true]', "entity", "parameter entity: Expected `int | null`, got `bool`"),
        (b'["buff",1.5]', "entity", "parameter entity"),
        (b'["buff",1,256]', "level", "parameter level: expected a whole number from 0 to 255"),
        (b'["buff",1,1,[1,300]]', "tags", "parameter tags"),
        (b'["buff",1,1,"x"]', "tags", "parameter tags"),
        (b'{"kind":"buff"}', "entity", "parameter entity"),
        (b'{"kind":5,"entity":1}', "kind", "parameter kind"),
        (b'{"kind":"a","entity":1,"tags":[1,[]]}', "tags", "parameter tags"),
        (b'{"kind":"a","entity":1,"x":1}', None, "unknown field `x`"),
        (b'"buff"', None, "arguments are a JSON array"),
        (b"7", None, "arguments are a JSON array"),
        (b"[1,", None, "not valid JSON"),
        (b'["\xff",1]', None, "not valid JSON"),
        (b'[1,"\xff"]', None, "not valid JSON"),
        (b'["a",' + b"9" * 5000 + b"]", None, "out of range"),
        (b"[" + b"[" * 5000 + b"]" * 5000 + b"]", None, "not valid JSON"),
        (b'["a",' + b"[" * 5000 + b"]" * 5000 + b"]", None, "not valid JSON"),
    ],
)
def test_a23_what_does_not_fit_is_explained(raw: bytes, parameter: str | None, text: str) -> None:
    """A23: wrong arity, name, type and range name the parameter; nothing a client sends is more than an error."""
    with pytest.raises(SenderError) as caught:
        PLAIN.decode(raw)
    assert caught.value.code == "bad_arguments"
    assert text in caught.value.message
    assert caught.value.details.get("parameter") == parameter


def test_values_by_position_are_checked_too() -> None:
    """Calls made in the process itself."""
    wrongs: list[tuple[Any, ...]] = [(), ("a",), ("a", "b"), ("a", 1, 300), ("a", 1, 1, [], 5)]
    for wrong in wrongs:
        with pytest.raises(SenderError) as caught:
            PLAIN.convert(wrong)
        assert caught.value.code == "bad_arguments"


def test_column_types_as_parameters() -> None:
    """Wide integers as numbers or decimal text, enums as members, JSON as it is."""
    big = 1 << 255
    assert TYPED.decode(GOOD % big) == (big, Mood.CALM, {"a": [1]}, {"x": [1]}, 0.5)
    assert TYPED.decode(b'["%d","calm",1,{},1]' % big)[0] == big
    assert type(TYPED.decode(b'[1,"calm",1,{},1]')[4]) is float
    for raw in (
        b'["x","calm",1,{},1]',
        b'["1e5","calm",1,{},1]',
        GOOD % (1 << 256),
        b'["%d","calm",1,{},1]' % (1 << 256),
        b'["%d","calm",1,{},1]' % -1,
        b'[1,"sad",1,{},1]',
        b'[1,"calm",1,{"x":[-1]},1]',
        b'[1,"calm",1,{},null]',
    ):
        with pytest.raises(SenderError):
            TYPED.decode(raw)


def test_defaults_are_the_authors() -> None:
    """What a parameter that was left out gets."""

    def _r(ctx: Any, a: int = 5, b: str | None = None) -> None: ...

    assert Arguments(_r, "r").decode(b"[]") == (5, None)
    assert Arguments(_r, "r").decode(b'{"b":"x"}') == (5, "x")


def _no_context() -> None: ...
def _star(ctx: Any, *rest: int) -> None: ...
def _stars(ctx: Any, **rest: int) -> None: ...
def _bare(ctx: Any, *, a: int) -> None: ...
def _untyped(ctx: Any, a) -> None: ...  # type: ignore[no-untyped-def]
def _unknown(ctx: Any, a: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def _unsupported(ctx: Any, a: int | list[int] | set[int]) -> None: ...


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (_no_context, "first parameter is the context"),
        (_star, "name each parameter"),
        (_stars, "name each parameter"),
        (_bare, "bare *"),
        (_untyped, "parameter a needs a type"),
        (_unknown, "cannot be resolved"),
        (_unsupported, "is not supported"),
    ],
)
def test_signatures_that_are_refused(function: Callable[..., Any], reason: str) -> None:
    """When declared, with the reason."""
    with pytest.raises(Refusal) as caught:
        Arguments(function, "reducer r")
    assert caught.value.code == "bad_declaration"
    assert "reducer r" in caught.value.message
    assert reason in caught.value.message


def test_described() -> None:
    """Names, types and whether they may be left out."""
    shown = PLAIN.to_json()
    assert [(p["name"], p["required"]) for p in shown] == [
        ("kind", True), ("entity", True), ("level", False), ("tags", False),
    ]  # fmt: skip
    assert shown[0]["type"] == "str"
