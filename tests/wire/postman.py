"""A worker that takes a letter and never finishes: ``python -m tests.wire.postman URL DATABASE LEASE_S``."""

from __future__ import annotations

import asyncio
import sys

from client import Task, aio


async def carry(task: Task) -> None:
    """Say what is in hand, and keep it."""
    print(f"{task.id} {task.key} {task.attempt}", flush=True)
    await asyncio.Event().wait()


async def main(url: str, database: str, lease_s: float) -> None:
    """Work until somebody ends this process."""
    async with aio.connect(url, database) as c, await c.work("mail", carry, lease_s=lease_s) as worker:
        await worker.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
