"""Workers as real processes against a real ``reactor run``."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from client import Hand, Task, aio, blocking
from tests.wire.serving import MODULES, ROOT, Server, clean_environment, eventually

LEASE_S = 1.5


def test_a_worker_that_is_killed_with_a_task_in_hand(tmp_path: Path) -> None:
    """C27, D57, D119: held by heartbeats while the worker lives, redelivered a lease after ``kill -9``; the effect may
    happen twice, under one key, and the workflow hears of one end."""
    with Server(MODULES / "mailroom.py", tmp_path / "data") as server:
        letter = server.call("workflow_start", "letter").json["ok"]
        postman = subprocess.Popen(
            [sys.executable, "-m", "tests.wire.postman", server.url, server.database, str(LEASE_S)],
            cwd=ROOT,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        try:
            assert postman.stdout is not None
            assert postman.stdout.readline().split() == [b"1", f"letter-{letter}".encode(), b"1"]
            heartbeats = "SELECT COUNT(*) FROM task_leases WHERE heartbeat_at > started_at + 2000000"
            assert eventually(lambda: server.rows(heartbeats) == [[1]])
            assert server.rows("SELECT admission FROM task_queue_state") == [["no_slots"]]
        finally:
            postman.kill()
            postman.communicate()
        assert eventually(lambda: server.rows("SELECT admission FROM task_queue_state") == [["no_active_workers"]])
        asyncio.run(asyncio.wait_for(finish(server, letter), 30))
        assert server.rows("SELECT workflow_id, status, result FROM heard") == [[letter, "completed", '"second"']]
        assert server.rows("SELECT status FROM workflow") == [["Completed"]]
        assert server.rows("SELECT outcome FROM task_attempt ORDER BY id") == [["Lapsed"], ["Completed"]]
        assert server.rows("SELECT claimed, redelivered, retried, ignored FROM task_queue_state") == [[2, 1, 0, 0]]
        with blocking.connect(server.url, server.database) as c:
            c.call("workflow_start", "letter")
            seen: list[str] = []
            assert c.work("mail", lambda hand: carry_at_once(hand, seen), until=lambda: bool(seen), timeout_s=20) == 1
        assert seen == [f"letter-{letter + 1}"]
        assert server.rows("SELECT COUNT(*) FROM heard") == [[2]]


async def finish(server: Server, letter: int) -> None:
    """The other worker, that is given what the first one had."""
    delivered: asyncio.Future[Task] = asyncio.get_running_loop().create_future()

    async def carry(task: Task) -> str:
        delivered.set_result(task)
        return "second"

    async with aio.connect(server.url, server.database) as c:
        worker = await c.work("mail", carry, slots=3, lease_s=LEASE_S)
        task = await delivered
        await worker.stop()
        assert (task.key, task.attempt, task.redeliveries) == (f"letter-{letter}", 1, 1)
        assert worker.finished == 1


def carry_at_once(hand: Hand, seen: list[str]) -> None:
    """A handler without ``await``."""
    hand.beat()
    seen.append(hand.task.key)
