"""``kill -9`` under load, again and again: what was acknowledged stays, timers fire once, subscribers come back whole.

The seed is printed with the figures; ``CRASH_SEED`` repeats its choices (not the machine's timing), ``CRASH_KILLS``
changes how often the server is killed.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.crash.load import WATCHED, Load
from tests.wire.serving import Server, free_port

MODULE = Path(__file__).parent / "modules" / "ledgers.py"
KILLS = int(os.environ.get("CRASH_KILLS", "34"))
SEED = int(os.environ.get("CRASH_SEED", str(random.randrange(1 << 32))))
BUSY_S = (0.05, 0.45)


def test_nothing_acknowledged_is_lost_and_no_timer_fires_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """P1, P2, P3, P4, P5, A35: 30 and more kills of the reactor, of its writer, or of both, at any moment."""
    trial = Trial(tmp_path / "data")
    started = time.monotonic()
    try:
        asyncio.run(trial.run())
    finally:
        trial.server.end()
        with capsys.disabled():
            print(f"\n{trial.summary()}, {time.monotonic() - started:.0f} s, seed {SEED}")
    assert trial.kills.total() >= min(30, KILLS)
    assert not trial.load.failures


class Trial:
    """One server, one load, and what must be true after every restart."""

    def __init__(self, data_dir: Path) -> None:
        self.rng = random.Random(SEED)
        self.server = Server(MODULE, data_dir, listen_port=free_port())
        self.kills: Counter[str] = Counter()
        self.load: Load
        self.slowest_start_s = 0.0

    def summary(self) -> str:
        """The figures of the run."""
        load = self.load
        return (
            f"crash: {self.kills.total()} kills ({', '.join(f'{n} {how}' for how, n in sorted(self.kills.items()))}),"
            f" {len(load.transferred)} unkeyed and {len(load.keyed)} keyed calls acknowledged,"
            f" {len(load.in_doubt)} in doubt, {len(load.alarms)} alarms of which {len(load.cancelled)} cancelled,"
            f" {load.restored} resumptions with changes, slowest start {self.slowest_start_s:.1f} s"
        )

    async def run(self) -> None:
        """Start, load, kill, start, look; at the end stop in good order and look once more."""
        await self._start()
        self.load = Load(self.server.url, self.server.owner_token, SEED)
        await self.load.start()
        for number in range(KILLS):
            await asyncio.sleep(self.rng.uniform(*BUSY_S))
            await self._kill(("group", "reactor", "group", "reactor", "writer")[number % 5])
            if number % 6 == 3:
                await self._kill_while_starting()
            await self._start()
            await self._look()
            self.load.resume()
        await self.load.pause()
        await self._until_alarms_have_fired()
        await self._look()
        await self._check_alarms_at_the_end()
        await self.load.end()
        assert await asyncio.to_thread(self.server.stop) == 0

    async def _start(self) -> None:
        started = time.monotonic()
        await asyncio.to_thread(self.server.start)
        self.slowest_start_s = max(self.slowest_start_s, time.monotonic() - started)

    async def _kill(self, how: str) -> None:
        self.kills[how] += 1
        if how == "group":
            await asyncio.to_thread(self.server.kill_group)
        elif how == "reactor":
            await asyncio.to_thread(self.server.kill)
        else:
            os.kill(self.server.child("reactor.storage.writer"), signal.SIGKILL)
            assert await asyncio.to_thread(self.server.wait) == 6

    async def _kill_while_starting(self) -> None:
        """At any point of a start: while it loads, recovers, or catches up with timers."""
        self.server.spawn()
        await asyncio.sleep(self.rng.uniform(0.05, 1.0))
        await self._kill(self.rng.choice(("group", "reactor")))

    # -- what must be true ---------------------------------------------------------------------

    async def _look(self) -> None:
        """Everything that can be said while timers go on; each statement sees one state."""
        await self.load.pause()
        await self._check_calls()
        await self._check_firings()
        await self._check_beats()
        await self._check_mirror()

    async def _rows(self, sql: str) -> list[list[Any]]:
        return (await self.load.connection.sql(sql)).rows

    async def _check_calls(self) -> None:
        debits = [row[0] for row in await self._rows("SELECT name FROM debit ORDER BY id")]
        credits = [row[0] for row in await self._rows("SELECT name FROM credit ORDER BY id")]
        assert debits == credits, "a call is whole"
        assert len(set(debits)) == len(debits), "an unkeyed call ran twice"
        assert self.load.transferred <= set(debits), "an acknowledged call is lost"
        assert set(debits) <= self.load.transferred | self.load.in_doubt, "a call nobody made"
        keyed = Counter(row[0] for row in await self._rows("SELECT name FROM keyed"))
        assert set(keyed.values()) <= {1}, "a keyed call ran twice"
        assert set(keyed) == self.load.keyed, "a keyed call is lost"

    async def _check_firings(self) -> None:
        twice = "SELECT timer, number, COUNT(*) FROM firing GROUP BY kind, timer, number HAVING COUNT(*) > 1"
        assert await self._rows(twice) == [], "a timer fired twice"
        assert await self._rows("SELECT * FROM firing WHERE fired_at < due_at") == [], "a timer fired early"
        both = "SELECT * FROM alarm JOIN firing ON timer = scheduled_id AND kind = 'alarm'"
        assert await self._rows(both) == [], "a timer fired and is still there"
        there = "SELECT scheduled_id FROM alarm UNION SELECT timer FROM firing WHERE kind = 'alarm'"
        known = {row[0] for row in await self._rows(there)}
        assert known == set(self.load.alarms) - self.load.cancelled, "a timer is lost, or fired though cancelled"

    async def _check_beats(self) -> None:
        rows = await self._rows(
            "SELECT scheduled_at - started_at, interval, COUNT(f.id), MIN(f.number), MAX(f.number),"
            " SUM(f.due_at != started_at + f.number * interval)"
            " FROM beat LEFT JOIN firing f ON f.timer = scheduled_id AND kind = 'beat' GROUP BY scheduled_id"
        )
        assert len(rows) == 3
        for ahead_us, interval_us, count, first, last, off_phase in rows:
            assert ahead_us == count * interval_us, "an interval has lost or gained an occurrence"
            assert count == 0 or (first, last, off_phase) == (0, count - 1, 0), "an occurrence is missing or shifted"

    async def _check_mirror(self) -> None:
        """The subscriber's rows are the table's; for tables that timers change, once both stand at the same seq."""
        for table in WATCHED:
            for _ in range(100):
                before = self.load.connection.seq
                answer = await self.load.connection.sql(f"SELECT * FROM {table}")
                mirrored = self.load.mirror(table)
                if {tuple(row) for row in answer.rows} == mirrored:
                    break
                assert self.load.connection.seq != before or answer.seq != before, f"the mirror of {table} differs"
            else:
                pytest.fail(f"the mirror of {table} never was the table")

    async def _until_alarms_have_fired(self) -> None:
        async with asyncio.timeout(10):
            while await self._rows("SELECT COUNT(*) FROM alarm") != [[0]]:
                await asyncio.sleep(0.05)

    async def _check_alarms_at_the_end(self) -> None:
        fired = dict(await self._rows("SELECT timer, due_at FROM firing WHERE kind = 'alarm'"))
        told = {timer: due for timer, due in self.load.alarms.items() if timer not in self.load.cancelled}
        assert fired == told, "each alarm fired once, for the instant it was set to"
