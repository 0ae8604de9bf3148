"""A game server for one zone: an ordinary client that follows its zone live and prints what changes.

    python -m examples.arena.zone_server 1 --url ws://127.0.0.1:3000

It subscribes by zone to monsters and players, and by entity id to the workflows of one monster it cares about.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from client import Row
from client.aio import Connection, connect

Say = Callable[[str], None]


class ZoneServer:
    """Follows a zone. ``say`` gets one line for each thing worth telling."""

    def __init__(self, zone: int, say: Say = print) -> None:
        self.zone = zone
        self.say = say

    async def follow(self, connection: Connection) -> None:
        """Subscribe; the callbacks do the rest until the connection is closed."""
        beings = await connection.subscribe(
            [f"SELECT * FROM monster WHERE zone = {self.zone}", f"SELECT * FROM player WHERE zone = {self.zone}"]
        )
        beings.on_insert(lambda row: self.say(f"{row.name} is here with {row.hp} hit points"))
        beings.on_update(self._being_changed)
        fights = await connection.subscribe(
            [f"SELECT * FROM workflow WHERE correlation_id = 'zone-{self.zone}' AND status <> 'Completed'"]
        )
        fights.on_insert(lambda row: self.say(f"{row.workflow_type} {row.id} of entity {row.entity_id} begins"))
        fights.on_delete(lambda row: self.say(f"{row.workflow_type} {row.id} of entity {row.entity_id} is over"))
        troll = next((row.id for row in beings.table("monster") if row.name == "troll"), None)
        if troll is not None:
            guard = await connection.subscribe([f"SELECT * FROM workflow WHERE entity_id = {troll}"])
            guard.on_update(self._guard_changed)

    def _being_changed(self, old: Row, new: Row) -> None:
        if new.hp == old.hp:
            return
        if not new.hp:
            self.say(f"{new.name} {new.id} dies")
        elif not old.hp:
            self.say(f"{new.name} {new.id} is back")
        elif new.hp < old.hp:
            self.say(f"{new.name} {new.id} is hit for {old.hp - new.hp}, {new.hp} left")
        else:
            self.say(f"{new.name} {new.id} heals {new.hp - old.hp}")

    def _guard_changed(self, old: Row, new: Row) -> None:
        if new.workflow_type == "npc_patrol" and new.current_step != old.current_step:
            self.say(f"the guard is {new.current_step}")


async def serve(zone: int, url: str, say: Say = print, ready: Callable[[Any], None] | None = None) -> None:
    """Follow a zone until cancelled, through every reconnect."""
    async with connect(url, "arena") as connection:
        await ZoneServer(zone, say).follow(connection)
        if ready is not None:
            ready(connection)
        await asyncio.Event().wait()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("zone", type=int)
    parser.add_argument("--url", default="ws://127.0.0.1:3000")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options.zone, options.url, lambda line: print(f"zone {options.zone}: {line}", flush=True)))


if __name__ == "__main__":
    main()
