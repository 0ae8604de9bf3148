"""``reactor.reloading``: another version of a module under live data, or nothing at all."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reactor import Context, Duration, Module, ReactorError, Refusal, SenderError, Timestamp, primary_key, seconds
from reactor.assembly import compose
from reactor.derived import DerivedIndex
from reactor.messages import Call, Caller, Task
from reactor.reloading import reload
from reactor.storage.connection import DiskError
from reactor.testing import Rig

PERIOD_US = seconds(10)


def game(version: int = 1, **differences: Any) -> Module:
    """A module with rows, timers and a private enum; each call makes new classes, as an import would."""
    module = Module(differences.get("name", "game"))

    class Mood(enum.StrEnum):
        CALM = "calm"
        ANGRY = "angry"

    class Monster:
        id: int = primary_key(auto=True)
        hp: int = 100 if version == 1 else 200
        mood: Mood = Mood.CALM

        def roar(self) -> str:
            return f"{version}:{self.mood is Mood.ANGRY}"

    class Beat:
        scheduled_id: int = primary_key(auto=True)
        scheduled_at: Timestamp
        interval: Duration | None = None

    class Heard:
        id: int = primary_key(auto=True)
        at: Timestamp
        version: int

    declare(module, Monster, Beat, Heard, Mood)
    reducers(module, version, Monster, Mood)
    module.view("angry", "SELECT id FROM monster WHERE mood = 'angry'" + (" AND hp > 0" if version > 1 else ""))
    return module


def declare(module: Module, monster: type, beat: type, heard: type, mood: type) -> None:
    """The three tables."""
    monster.__annotations__["mood"] = mood
    module.table(public=True, indexes=["mood"])(monster)
    module.table(scheduled="beat")(beat)
    module.table(public=True)(heard)


def reducers(module: Module, version: int, monster: Any, mood: Any) -> None:
    """What clients and timers call."""

    @module.reducer
    def beat(ctx: Context, row: Any) -> None:
        ctx.db.heard.insert(at=ctx.now, version=version)

    @module.reducer
    def spawn(ctx: Context, angry: bool = False) -> int:
        spawned: int = ctx.db.monster.insert(mood=mood.ANGRY if angry else mood.CALM).id
        return spawned

    @module.reducer
    def roars(ctx: Context) -> list[str]:
        return [row.roar() for row in ctx.db.monster]

    @module.reducer(name="old_only" if version == 1 else "new_only")
    def only(ctx: Context) -> int:
        return version


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A database under version 1 with three monsters and a beat every ten seconds."""
    with Rig(game()) as rig:
        rig.batch(("spawn", True), ("spawn",), ("spawn", True))
        rig.run(lambda ctx: ctx.db.beat.insert(scheduled_at=ctx.now + PERIOD_US, interval=PERIOD_US))
        yield rig


def refused(rig: Rig, module: Module) -> Refusal:
    """The error of a reload that is refused; the version before goes on, nothing is written."""
    seq, rows = rig.engine.seq, [rig.rows(name) for name in rig.engine.program.tables]
    with pytest.raises(Refusal) as refusal:
        rig.reload(module)
    assert rig.engine.seq == seq
    assert [rig.rows(name) for name in rig.engine.program.tables] == rows
    assert rig.call("old_only") == 1
    assert rig.call("roars") == ["1:True", "1:False", "1:True"]
    return refusal.value


# -- what is swapped, and what is not ---------------------------------------------------------------


def test_reducers_views_and_row_classes_are_the_new_ones(rig: Rig) -> None:
    """REQ-12: calls, methods of rows, members of enums and views are those of the new version."""
    done = rig.reload(game(2))
    assert done == ("game", ("new_only",), ("old_only",), True)
    assert rig.call("new_only") == 2
    assert rig.call("roars") == ["2:True", "2:False", "2:True"]
    with pytest.raises(SenderError, match="no reducer"):
        rig.call("old_only")
    spawned = rig.row("monster", rig.call("spawn"))
    assert spawned.hp == 200 and type(spawned) is type(rig.row("monster", 1))
    assert rig.sql("SELECT id FROM angry ORDER BY id") == [[1], [3]]
    assert [row.id for row in rig.engine.store.tables["monster"].where(mood="angry")] == [1, 3]


def test_timers_keep_their_occurrences(rig: Rig) -> None:
    """REQ-12: reloads between, at and after due times neither lose nor double an occurrence."""
    started = rig.clock.now()
    rig.advance(PERIOD_US - 1)
    for version in (2, 3, 4):
        rig.reload(game(version))
        rig.advance(PERIOD_US)
    rig.reload(game(5))
    heard = rig.rows("heard")
    assert [row.at for row in heard] == [started + n * PERIOD_US for n in range(1, 4)]
    assert [row.version for row in heard] == [2, 3, 4]


def test_an_overdue_timer_fires_once_under_the_new_version(rig: Rig) -> None:
    """REQ-12: what was due while the swap was made fires after it, at its own instant."""
    started = rig.clock.now()
    rig.clock.move_to(started + PERIOD_US + 5)
    reload(rig.host, compose(game(2)))
    rig.settle()
    assert [(row.at, row.version) for row in rig.rows("heard")] == [(started + PERIOD_US, 2)]


def test_subscriptions_go_on(rig: Rig) -> None:
    """A subscriber sees no difference but that of the calls after it, and new queries are understood."""
    watch = rig.subscribe("SELECT * FROM monster WHERE mood = 'angry'")
    rig.reload(game(2))
    assert watch.events == []
    rig.call("spawn", True)
    assert [(kind, row["hp"]) for kind, row in watch.events] == [("insert", 200)]
    assert len(rig.subscribe("SELECT * FROM monster WHERE mood = 'angry'").rows) == 3


def test_connected_clients_meet_the_new_hooks(rig: Rig) -> None:
    """Who goes after a reload is told to the version that serves then."""
    told: list[str] = []
    one, two = game(), game(2)
    for name, module in (("one", one), ("two", two)):
        module.client_disconnected(lambda ctx, name=name: told.append(name))
    with Rig(one) as other:
        client = other.connect("a" * 32)
        other.reload(two)
        client.disconnect()
    assert told == ["two"]


def test_a_restart_after_a_reload(rig: Rig) -> None:
    """Nothing of a reload lives only in memory: the same rows come back under the same version."""
    rig.reload(game(2))
    rig.call("spawn", True)
    before = [tuple(vars_of(row)) for row in rig.rows("monster")]
    rig.crash()
    rig.reopen()
    assert [tuple(vars_of(row)) for row in rig.rows("monster")] == before
    assert rig.call("new_only") == 2


def vars_of(row: Any) -> Iterator[Any]:
    """The columns of a row as they are stored."""
    return (str(getattr(row, name)) for name in row.__struct_fields__)


def test_the_same_module_may_be_given_again(rig: Rig) -> None:
    """A module that is the same object is a reload like any other."""
    assert rig.reload(rig.module) == ("game", (), (), False)
    assert rig.call("roars") == ["1:True", "1:False", "1:True"]


# -- refusals: the version before goes on -----------------------------------------------------------


def with_table(module: Module) -> None:
    """One more table."""
    module.table(name="more")(type("More", (), {"__annotations__": {"id": int}, "id": primary_key()}))


def with_failing_check(module: Module) -> None:
    """A check that says no."""

    def check(engine: Any) -> None:
        raise Refusal("unregistered_types", "no")

    module.before_start(check)


def with_broken_check(module: Module) -> None:
    """A check with a mistake."""
    module.before_start(lambda engine: 1 / 0)


def with_failing_hook(module: Module) -> None:
    """A reload function that raises after it has written."""

    @module.on_reload
    def fails(ctx: Context) -> None:
        ctx.db.monster.insert(hp=7)
        raise SenderError("sender_error", "not like this")


@pytest.mark.parametrize(
    ("change", "code", "part"),
    [
        (with_table, "restart_needed", "table more is new"),
        (with_failing_check, "unregistered_types", "no"),
        (with_broken_check, "module_failed", "ZeroDivisionError"),
        (with_failing_hook, "module_failed", "not like this"),
    ],
)
def test_what_is_refused(rig: Rig, change: Callable[[Module], None], code: str, part: str) -> None:
    """A09: whatever says no, the version before goes on and the data are as they were."""
    module = game(2)
    change(module)
    error = refused(rig, module)
    assert error.code == code and part in error.message


def test_another_name_is_another_database(rig: Rig) -> None:
    """Clients ask for the database by its name."""
    assert refused(rig, game(2, name="other")).code == "restart_needed"


def test_tables_that_do_not_fit(rig: Rig) -> None:
    """A table that is gone is a conflict, as at a start; other indexes need a restart."""
    bare = Module("game")
    assert refused(rig, bare).code == "schema_conflict"
    module = game(2)
    schema = module.tables["heard"]
    module.tables["heard"] = type(schema)(**{**_fields(schema), "public": False})
    error = refused(rig, module)
    assert error.code == "restart_needed" and "heard is declared in another way" in error.message


def test_derived_indexes_that_change(rig: Rig) -> None:
    """They are made by a start."""
    module = game(2)
    module.derived_index(DerivedIndex("monster_index", "monster", 1, ("hp",)))
    error = refused(rig, module)
    assert error.code == "restart_needed" and "derived index monster_index" in error.message


def test_a_wrong_declaration(rig: Rig) -> None:
    """Modules that clash are refused before anything is asked."""
    module = Module("game", includes=[game(2, name="inner")])
    module.reducer(name="spawn")(lambda ctx: None)
    assert refused(rig, module).code == "bad_declaration"


def test_nothing_is_swapped_while_nothing_can_be_written(rig: Rig) -> None:
    """A reload writes; while the store cannot, the version before goes on."""
    rig.engine.halted = "the disk is full"
    with pytest.raises(ReactorError) as error:
        rig.reload(game(2))
    assert error.value.code == "read_only"
    rig.engine.halted = None
    assert rig.call("old_only") == 1


# -- hooks ----------------------------------------------------------------------------------------


def test_reload_functions_run_once_and_go_on_as_calls(rig: Rig) -> None:
    """The first round is one commit with the swap; further rounds are calls among the others."""
    module, rounds = game(2), iter((True, True, False))

    @module.on_reload
    def more(ctx: Context) -> bool:
        ctx.db.heard.insert(at=ctx.now, version=0)
        return next(rounds)

    @module.on_start
    def never(ctx: Context) -> None:
        ctx.db.heard.insert(at=ctx.now, version=-1)

    rig.reload(module)
    assert [row.version for row in rig.rows("heard")] == [0, 0, 0]


def test_the_version_before_is_told(rig: Rig) -> None:
    """Only when it really goes, and only once."""
    gone: list[int] = []
    one, two = game(), game(2)
    one.on_unload(lambda: gone.append(1))
    two.on_unload(lambda: gone.append(2))
    with Rig(one) as other:
        with pytest.raises(Refusal):
            other.reload(Module("game"))
        assert gone == []
        other.reload(two)
        assert gone == [1]


def test_a_failing_disk_brings_back_rows_of_the_right_class(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits that were under way at the swap and are undone leave no row of an old class."""
    with Rig(game()) as other:
        other.batch(("spawn", True), ("spawn",))

        def full(groups: Any) -> None:
            raise DiskError("no space", 13)

        other.storage._automatic = False
        other.host.submit(_call(other, "spawn", True))
        other.host.run_turn()
        other.host.submit(_update(other, 1))
        other.host.run_turn()
        reload(other.host, compose(game(2)))
        monkeypatch.setattr(other.storage.log, "append", full)
        other.storage.pump()
        assert [type(row) for row in other.rows("monster")] == [other.engine.store.tables["monster"].row_type] * 2
        assert [row.roar() for row in other.rows("monster")] == ["2:True", "2:False"]


def _update(rig: Rig, key: int) -> Any:
    return Task("rig", lambda ctx: ctx.db.monster.update(key, hp=1).id, token=lambda seq, body: None)


def _call(rig: Rig, reducer: str, *args: Any) -> Any:
    return Call(reducer, args, Caller("0" * 32, None, True), lambda seq, body: None)


def _fields(schema: Any) -> dict[str, Any]:
    return {name: getattr(schema, name) for name in schema.__dataclass_fields__}
