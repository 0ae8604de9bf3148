"""Bots that play the arena: each is a client with a connection of its own."""

from __future__ import annotations

import asyncio
import contextlib
import random

from client import CallFailed, ConnectionLost
from client.aio import Connection, connect

NAMES = ("Ada", "Brandt", "Cleo", "Dario")


class Bot:
    """Fights what lives, blesses itself when hurt, and orders swords between fights."""

    def __init__(self, name: str, zone: int, rng: random.Random, pause_s: float = 1.0) -> None:
        self.name = name
        self.zone = zone
        self.rng = rng
        self.pause_s = pause_s
        self.player = 0
        self.actions = 0

    async def play(self, url: str) -> None:
        """Play until cancelled."""
        async with connect(url, "arena") as connection:
            self.player = await connection.call("enter", self.name, self.zone)
            await connection.subscribe(
                [f"SELECT * FROM monster WHERE zone = {self.zone}", f"SELECT * FROM player WHERE id = {self.player}"]
            )
            while True:
                # Refused (the dead do not fight), or the server is away: look again in a moment.
                with contextlib.suppress(CallFailed, ConnectionLost):
                    await self.act(connection)
                await asyncio.sleep(self.pause_s * self.rng.uniform(0.5, 1.5))

    async def act(self, connection: Connection) -> None:
        """One thing that makes sense now."""
        me = connection.table("player").get(self.player)
        if me is None or not me.hp:
            return
        self.actions += 1
        if me.hp < me.max_hp // 2:
            await connection.call("bless", self.player)
        elif self.rng.random() < 0.15:
            await connection.call("forge", self.player, 1)
        else:
            living = [row for row in connection.table("monster") if row.hp]
            if living:
                await connection.call("fight", self.player, self.rng.choice(living).id)
