"""One script for both faces of the client, over the module of ``tests/wire/modules/playground.py``."""

from __future__ import annotations

import inspect
from typing import Any

from client import CallFailed, ConstraintFailed


async def maybe(value: Any) -> Any:
    """Await what is awaitable: lets one script run on both faces."""
    return await value if inspect.isawaitable(value) else value


async def parity_script(c: Any, told: list[Any]) -> None:
    """Everything the API offers, with what is observed noted in ``told``."""
    zone = ["SELECT * FROM item WHERE zone = 7", "SELECT * FROM item WHERE name = 'bow'"]
    live = await maybe(
        c.subscribe(
            zone,
            on_insert=lambda row: told.append(("+", row.name)),
            on_update=lambda old, new: told.append(("~", old.zone, new.zone)),
            on_delete=lambda old: told.append(("-", old.name)),
        )
    )
    c.on_commit(lambda commit: told.append(("commit", len(commit.changes))))
    first = await maybe(c.call("add", "axe", 7))
    bow = await maybe(c.call_by_name("add", {"name": "bow", "zone": 2, "text": b"bytes"}))
    told.append(bow - first)
    added = await maybe(c.batch([("add", ["cap", 7]), ("add", {"name": "dye", "zone": 7})]))
    told.append([item - first for item in added])
    await maybe(c.call("set_zone", bow, 7))
    await maybe(c.call("set_zone", first, 1))
    told.append(await maybe(c.call("add", "elf", 7, key="k1")) == await maybe(c.call("add", "elf", 7, key="k1")))
    for reducer, args in (("add", ["axe"]), ("add", []), ("nothing", []), ("refuse_late", []), ("set_zone", [0, 1])):
        try:
            await maybe(c.call(reducer, *args))
        except CallFailed as error:
            told.append((type(error).__name__, error.code, sorted(error.details)))
    try:
        await maybe(c.batch([("add", ["fig"]), ("add", ["axe"])]))
    except ConstraintFailed as error:
        told.append((error.code, error.details["index"]))
    result = await maybe(c.sql("SELECT name, zone FROM item WHERE zone = :zone ORDER BY name", {"zone": 7}))
    told.append((result.columns, result.rows, result.dicts()[0]))
    told.append([row.name for row in live.rows])
    await maybe(live.unsubscribe())
    told.append((live.is_active, live.rows, len(c.table("item"))))
    for name in ("axe", "bow", "cap", "dye", "elf"):
        item = (await maybe(c.sql("SELECT id FROM item WHERE name = ?", [name]))).rows[0][0]
        await maybe(c.call("remove", item))
