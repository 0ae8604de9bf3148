"""A small world with a counter and a journal, for scripts whose steps change tables."""

from __future__ import annotations

from typing import Any

from reactor.context import Context
from reactor.module import Module
from reactor.schema import primary_key
from reactor.testing import Rig
from workflows import Payload, WorkflowEngine


class Item(Payload):
    """What a signal carries."""

    name: str = "x"


def write(ctx: Context, text: str) -> str:
    """Add a line to the journal."""
    ctx.db.journal.insert(text=text)
    return text


def unwrite(ctx: Context, text: str) -> None:
    """Add a line that says so."""
    write(ctx, f"no {text}")


def refuse(ctx: Context, text: str = "no") -> None:
    """A step that never works."""
    raise ValueError(text)


def make_world(*types: Any, **options: Any) -> Module:
    """A module that includes an engine with ``types``, and has tables ``counter`` and ``journal``."""
    engine = WorkflowEngine(types, **options)
    world = Module("world", includes=[engine])

    @world.table(public=True)
    class Counter:
        id: int = primary_key()
        value: int

    @world.table(public=True)
    class Journal:
        id: int = primary_key(auto=True)
        text: str

    return world


def make_rig(*types: Any, **options: Any) -> Rig:
    """A rig over ``make_world``."""
    return Rig(make_world(*types, **options))


def journal(rig: Rig) -> list[str]:
    """What steps have written, in order."""
    return [row.text for row in rig.rows("journal")]


def crash(rig: Rig) -> None:
    """Kill the server and start it again."""
    rig.crash()
    rig.reopen()
