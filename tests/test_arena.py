"""The arena example: its rules on the simulated clock, and the whole of it as real processes."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from examples.arena.module import MONSTERS_PER_ZONE, PLAYER_HP, ZONES, arena
from reactor import seconds
from reactor.errors import SenderError
from reactor.testing import Rig


def _play(rig: Rig, until_s: float, crash_every_s: float | None = None) -> dict[str, list[Any]]:
    """Two players fight, are blessed and forge; returns the game's tables and what became of the workflows."""
    for name, zone in (("Ada", 1), ("Brandt", 2)):
        player = rig.call("enter", name, zone)
        monster = next(row for row in rig.rows("monster") if row.zone == zone and row.name == "wolf")
        rig.call("fight", player, monster.id)
        rig.call("bless", player)
        rig.call("forge", player, 2)
    passed = 0.0
    step = crash_every_s or until_s
    while passed < until_s:
        rig.advance(seconds(min(step, until_s - passed)))
        passed += step
        if crash_every_s is not None:
            rig.crash()
            rig.reopen()
    kept: dict[str, list[Any]] = {name: [repr(row) for row in rig.rows(name)] for name in ("monster", "player")}
    # Ids leave gaps after a crash, and a respawn's delay is drawn from a stream that belongs to its id.
    kept["workflow"] = [
        (row.workflow_type, row.entity_id, str(row.status), row.result if row.workflow_type != "respawn" else None)
        for row in rig.rows("workflow")
    ]
    return kept


def test_a_game_goes_the_same_way_through_crashes() -> None:
    """A53: killed every 1.3 s and started again, the game ends with the same tables as one that was left alone."""
    with Rig(arena) as quiet, Rig(arena) as troubled:
        assert _play(quiet, 26) == _play(troubled, 26, crash_every_s=1.3)


def test_the_game_does_what_it_says() -> None:
    """Fights end, the dead come back, swords are made, blessings heal, and nothing fails."""
    with Rig(arena) as rig:
        kept = _play(rig, 40)
        assert len(rig.rows("monster")) == MONSTERS_PER_ZONE * len(ZONES)
        assert all(row.hp == row.max_hp for row in rig.rows("monster"))
        assert [row.swords for row in rig.rows("player")] == [2, 2]
        assert all(0 < row.hp <= PLAYER_HP for row in rig.rows("player"))
        assert not [w for w in kept["workflow"] if w[2] == "Failed"]
        assert not rig.rows("timer_error")


def test_who_may_not_fight() -> None:
    """A48: the sender's mistakes are told with a sentence."""
    with Rig(arena) as rig:
        player = rig.call("enter", "Ada", 1)
        elsewhere = next(row for row in rig.rows("monster") if row.zone == 2)
        with pytest.raises(SenderError, match="another zone"):
            rig.call("fight", player, elsewhere.id)
        rig.run(lambda ctx: ctx.db.player.update(player, hp=0) and None)
        here = next(row for row in rig.rows("monster") if row.zone == 1)
        with pytest.raises(SenderError, match="the dead do not fight"):
            rig.call("fight", player, here.id)


def _look_and_kill(address: str, pid: int, seen: list[list[Any]]) -> None:
    """Note the workflows that exist, then kill the server."""
    host, _, port = address.partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request(
        "POST", "/v1/database/arena/sql", "SELECT id, workflow_type || ' of ' || entity_id FROM workflow"
    )
    seen.extend(json.loads(connection.getresponse().read())["rows"])
    connection.close()
    os.kill(pid, signal.SIGKILL)


def test_the_whole_arena_survives_kill_9(tmp_path: Path) -> None:
    """C01, A35: the real thing: server, zone servers, bots; killed in the middle, started again, the game goes on."""
    before: list[list[Any]] = []
    command = [sys.executable, "-m", "examples.arena", "--plain", "--seconds", "9", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*command, "--data-dir", str(tmp_path / "arena")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    killer: threading.Timer | None = None
    output = []
    try:
        deadline = time.monotonic() + 60
        for line in process.stdout or ():
            output.append(line)
            found = re.search(r"kill -9 (\d+)", line)
            if found:
                address = re.search(r"served at ([\d.:]+) by", "".join(output))
                assert address is not None
                killer = threading.Timer(4.0, _look_and_kill, (address[1], int(found[1]), before))
                killer.start()
            assert time.monotonic() < deadline
        assert process.wait(30) == 0, "".join(output)
    finally:
        if killer is not None:
            killer.cancel()
        if process.poll() is None:
            process.terminate()
    stored = sqlite3.connect(tmp_path / "arena" / "projection.db")
    after = dict(stored.execute("SELECT id, workflow_type || ' of ' || entity_id FROM workflow"))
    stored.close()
    assert before and all(after.get(number) == what for number, what in before), "what there was is still there"
    told = dict(re.findall(r"(\w+) (\d+)", output[-1]))
    assert int(told["starts"]) == 2, "".join(output)
    assert int(told["lines"]) > 20 and int(told["actions"]) > 10, "".join(output)
