"""An effect outside: a receipt is mailed by a worker, and the sale hears once how that went.

    reactor run examples/worker.py
    python -m examples.worker http://127.0.0.1:3000         # a worker; start as many as you like, and kill them
    reactor call workflow_start '["sale", 7]'
    reactor sql "SELECT name, status, redeliveries FROM task"

``python -m examples.worker`` without an address plays it on the simulated clock, with a worker that is lost.
"""

from __future__ import annotations

import asyncio
import sys

from client import Retry, Task, aio
from reactor import Module, seconds
from reactor.testing import Rig
from workflows import Handler, NoPayload, Workflow, WorkflowEngine
from workflows.handle import TaskEnd


class Sale(Handler[None]):
    """Puts a task into the queue ``mail``; nothing else wakes it."""

    name = "sale"

    def on_start(self, w: Workflow[None], payload: NoPayload) -> None:
        w.step = "mailing the receipt"
        # The same key in every attempt: by it the mail server can tell that it has sent this one.
        w.ctx.tasks.put("mail", "receipt", {"buyer": w.entity_id}, key=f"sale-{w.id}", workflow_id=w.id)

    def on_task_end(self, w: Workflow[None], task: TaskEnd) -> None:
        w.complete({"receipt": task.status})


module = Module("shop", includes=[WorkflowEngine(types=[Sale])])


async def mail(task: Task) -> str:
    """What a worker does. It may be done twice, if a worker is lost on the way; the sale hears of one end."""
    if task.payload["buyer"] is None:
        raise Retry("no address yet", after_s=5)
    print(f"mailed to {task.payload['buyer']}, idempotency key {task.key}", flush=True)
    return "250 OK"


async def work(url: str, tasks: int | None = None) -> None:
    """A worker on a real server: four tasks at once, each held by heartbeats for as long as it takes."""
    async with aio.connect(url, "shop", retry_first=True) as c, await c.work("mail", mail, slots=4) as worker:
        while tasks is None or worker.finished < tasks:
            await asyncio.sleep(0.05)


def main() -> None:
    """One worker claims the task and is never heard of again; ten seconds later another is given it."""
    with Rig(module) as rig:
        sale = rig.start("sale", entity_id=7)
        (lost,) = rig.call("task_claim", "mail", 1, seconds(10))
        print("claimed:", lost["name"], lost["payload"], "under key", lost["key"])
        rig.advance(seconds(10))
        (again,) = rig.call("task_claim", "mail", 1, seconds(10))
        print("claimed again, same key:", again["key"] == lost["key"], "redeliveries:", again["redeliveries"])
        rig.crash()
        rig.reopen()
        print("done:", rig.call("task_complete", again["id"], again["token"], "250 OK"))
        try:
            rig.call("task_complete", lost["id"], lost["token"], "250 OK")
        except Exception as error:
            print("the first worker, late:", error)
        print("the sale:", rig.row("workflow", sale).result)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1])) if len(sys.argv) > 1 else main()
