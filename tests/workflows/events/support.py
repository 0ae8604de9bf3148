"""Types that wait for events."""

from __future__ import annotations

from typing import Any

import msgspec

from reactor.testing import Rig
from workflows import Handler, Payload, Workflow
from workflows.handle import EventSeen


class WaitStart(Payload):
    name: str = "rain"
    key: str = ""
    as_of: int | None = None
    times: int = 1
    lasting: bool = False


class WaitState(msgspec.Struct):
    start: WaitStart
    seen: list[Any] = []


class Waiter(Handler[WaitState]):
    """Waits for an event so many times, or listens to all, and for nothing else."""

    name = "waiter"
    clock = "wall"

    def on_start(self, w: Workflow[WaitState], payload: WaitStart) -> None:
        w.step = "waiting"
        w.state = WaitState(payload)
        if payload.lasting:
            w.ctx.events.listen(w, payload.name, payload.key, as_of=payload.as_of)
        else:
            w.ctx.events.wait(w, payload.name, payload.key, as_of=payload.as_of, pointer_id=77)

    def on_event(self, w: Workflow[WaitState], event: EventSeen) -> None:
        w.state.seen.append([event.key, event.data, event.pointer_id])
        start = w.state.start
        if event.data == '"crash"':
            raise ZeroDivisionError("a defect")
        if start.lasting:
            if event.data == '"stop"':
                w.complete(w.state.seen)
        elif len(w.state.seen) < start.times:
            w.ctx.events.wait(w, start.name, start.key)
        else:
            w.complete(w.state.seen)


def seen(rig: Rig, workflow_id: int) -> list[Any]:
    """The data a workflow was told, in order."""
    noted = msgspec.json.decode(rig.row("workflow", workflow_id).state)["seen"]
    return [None if data is None else msgspec.json.decode(data) for _, data, _ in noted]
