"""A workflow type of your own: a door that closes after a while, unless somebody holds it open.

    reactor run examples/own_workflow.py
    reactor call open_door '[7]'                            # returns the id of a workflow, say 1
    reactor call workflow_signal '[1, "hold", {"for_us": 60000000}]'
    reactor subscribe "SELECT * FROM door"

``python -m examples.own_workflow`` plays it, with a crash, on the simulated clock.
"""

from __future__ import annotations

import msgspec

from reactor import Context, Module, hours, primary_key, seconds
from reactor.testing import Rig
from workflows import Handler, NoPayload, Payload, Timer, Workflow, WorkflowEngine


class DoorState(msgspec.Struct):  # what it remembers between steps, stored in its row
    times_held: int = 0


class Hold(Payload):  # what must come with the signal
    for_us: int


class OpenDoor(Handler[DoorState]):
    """Between its steps an open door is two rows, itself and its timer, and outlives any number of restarts."""

    name = "open_door"
    timers = ("close",)
    signals = {"hold": Hold}

    def on_start(self, w: Workflow[DoorState], payload: NoPayload) -> None:
        w.step = "open"
        w.db.door.update(w.entity_id, is_open=True)
        w.timer("close", after_us=seconds(10))

    def on_hold(self, w: Workflow[DoorState], payload: Hold) -> None:
        w.step = "held open"
        w.state.times_held += 1
        w.timer("close", after_us=payload.for_us)  # arming a timer again moves it

    def on_timer(self, w: Workflow[DoorState], timer: Timer) -> None:
        w.db.door.update(w.entity_id, is_open=False)
        w.complete({"times_held": w.state.times_held})


module = Module("castle", includes=[WorkflowEngine(types=[OpenDoor])])


@module.table(public=True)
class Door:
    id: int = primary_key()
    is_open: bool = False


@module.reducer
def open_door(ctx: Context, door_id: int) -> int:
    """Open a door, or find it open; returns the workflow to signal."""
    for workflow in ctx.workflows.find("open_door", entity_id=door_id):
        return int(workflow.id)
    _ = ctx.db.door.get(door_id) or ctx.db.door.insert(id=door_id)
    return int(ctx.workflows.start("open_door", entity_id=door_id))


def main() -> None:
    """Opened at 0 s, held at 8 s for ten more; the server is killed at 12 s and started again an hour later."""
    with Rig(module) as rig:
        workflow = rig.call("open_door", 7)
        rig.advance(seconds(8))
        print("hold it:", rig.call("workflow_signal", workflow, "hold", {"for_us": seconds(10)}))
        rig.advance(seconds(4))
        rig.crash()
        rig.advance(hours(1))  # the type's clock is ``world``, which stands still while the server is down
        rig.reopen()
        rig.advance(seconds(6) - 1)
        print("six seconds later, but for a microsecond:", rig.row("door", 7))
        rig.advance(1)
        print("then:", rig.row("door", 7), rig.row("workflow", workflow).result)


if __name__ == "__main__":
    main()
