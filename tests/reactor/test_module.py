"""``reactor.module``: declarations, and programs made of several modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from reactor import Context, Module, Refusal, Timestamp, primary_key
from reactor.assembly import compose, describe
from reactor.schema import declare_table


def _table(module: Module, name: str, scheduled: str | None = None) -> None:
    @module.table(name=name, scheduled=scheduled)
    class Thing:
        scheduled_id: int = primary_key(auto=True)
        scheduled_at: Timestamp = 0


def _reducer(module: Module, name: str, **options: Any) -> None:
    @module.reducer(name=name, **options)
    def reduce(ctx: Context, row: int = 0) -> None:
        """What it does."""


def test_a_module_collects() -> None:
    """Tables become row classes; reducers stay the author's functions."""
    module = Module("my-game")

    @module.table(public=True)
    class Monster:
        id: int = primary_key()

    @module.reducer
    def spawn(ctx: Context, hp: int) -> int:
        """Add one."""
        return hp

    made: Any = Monster
    assert made(1).id == 1
    assert spawn(cast(Context, None), 5) == 5
    assert module.name == "my-game"
    assert module.tables["monster"].row_type is Monster
    assert module.reducers["spawn"].docs == "Add one."
    assert module.primary_key is primary_key


def _declares(act: Callable[[Module], Any]) -> Callable[[], Any]:
    return lambda: act(Module("m"))


def _coroutine(module: Module) -> None:
    @module.reducer
    async def wait(ctx: Context) -> None: ...


def _generator(module: Module) -> None:
    @module.reducer
    def wait(ctx: Context) -> Any:
        yield


def _twice(declare: Callable[[Module], Any]) -> Callable[[], Any]:
    def act() -> None:
        module = Module("m")
        declare(module)
        declare(module)

    return act


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda: Module("Bad Name"), "not a usable name"),
        (_declares(_coroutine), "cannot wait"),
        (_declares(_generator), "cannot wait"),
        (_declares(lambda m: _reducer(m, "R")), "not a usable name"),
        (_declares(lambda m: _reducer(m, "r", access="all")), "public, owner, internal"),
        (_declares(lambda m: m.view("V", "SELECT 1")), "not a usable name"),
        (_declares(lambda m: m.extension("E", lambda ctx: 1)), "not a usable name"),
        (_twice(lambda m: _reducer(m, "r")), "reducer r is declared twice"),
        (_twice(lambda m: _table(m, "t")), "table t is declared twice"),
        (_twice(lambda m: m.view("v", "SELECT 1")), "view v is declared twice"),
    ],
)
def test_wrong_declarations(act: Callable[[], Any], reason: str) -> None:
    """Refused at once, with the reason."""
    with pytest.raises(Refusal) as caught:
        act()
    assert caught.value.code == "bad_declaration"
    assert reason in caught.value.message


def test_included_modules_come_first_and_once() -> None:
    """A diamond of includes is one program; lifecycle functions run from the inside out."""
    order: list[str] = []
    base = Module("base")
    left, right = Module("left", includes=[base]), Module("right", includes=[base])
    root = Module("root", includes=[left, right])
    for module in (root, right, left, base):
        module.init(lambda ctx, name=module.name: order.append(name))
        _table(module, module.name + "_t")
    program = compose(root)
    assert program.name == "root"
    assert [m.name for m in program.modules] == ["reactor", "base", "left", "right", "root"]
    for function in program.functions("init_functions"):
        function(None)
    assert order == ["base", "left", "right", "root"]
    assert {"base_t", "left_t", "right_t", "root_t", "clock", "reactor_sequence"} <= set(program.tables)


def test_modules_that_include_each_other() -> None:
    """The circle is named."""
    one, two = Module("one"), Module("two")
    one.includes, two.includes = (two,), (one,)
    with pytest.raises(Refusal, match="one -> two -> one"):
        compose(one)


@pytest.mark.parametrize(
    "declare",
    [
        lambda m: _table(m, "t"),
        lambda m: _reducer(m, "t"),
        lambda m: m.view("t", "SELECT 1"),
        lambda m: m.extension("t", lambda ctx: 1),
    ],
)
def test_clashes_between_modules(declare: Callable[[Module], Any]) -> None:
    """Two modules cannot declare the same thing."""
    inner = Module("inner")
    outer = Module("outer", includes=[inner])
    declare(inner)
    declare(outer)
    with pytest.raises(Refusal, match=r"t of module outer is already declared"):
        compose(outer)


def test_the_reactors_own_tables_are_taken() -> None:
    """A module cannot shadow them, nor call a view like a table."""
    module = Module("m")
    module.add_table(declare_table(type("Clock", (), {"__annotations__": {"id": int}, "id": primary_key()})))
    with pytest.raises(Refusal, match="table clock"):
        compose(module)
    other = Module("m")
    other.view("clock", "SELECT 1")
    with pytest.raises(Refusal, match="view clock has the name of a table"):
        compose(other)


def test_scheduled_tables_need_their_reducer() -> None:
    """It exists and takes the row; nobody else may call it (A88)."""
    module = Module("m")
    _table(module, "t", scheduled="fire")
    with pytest.raises(Refusal, match="names reducer fire, which is not declared"):
        compose(module)

    @module.reducer
    def fire(ctx: Context) -> None: ...

    with pytest.raises(Refusal, match="takes the context and the row"):
        compose(module)
    good = Module("m")
    _table(good, "t", scheduled="fire")
    _reducer(good, "fire", access="public")
    assert compose(good).reducers["fire"].access == "internal"


def test_described() -> None:
    """What `reactor describe` shows."""
    module = Module("m")
    _table(module, "t")
    _reducer(module, "r", access="owner")
    module.view("v", "SELECT 1")
    told = describe(compose(module))
    assert told["module"] == "m"
    assert "t" in [t["name"] for t in told["tables"]]
    assert [(r["name"], r["access"], r["docs"]) for r in told["reducers"] if r["name"] == "r"] == [
        ("r", "owner", "What it does.")
    ]
    assert {"name": "v", "sql": "SELECT 1"} in told["views"]
