"""A workflow type of your own: a door that closes after a while, unless somebody holds it open.

    reactor run examples/own_workflow.py
    reactor call open_door '[7]'                            # returns the id of a workflow, say 1
    reactor call workflow_signal '[1, "hold", {"for_us": 60000000}]'

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
    """Between its steps an open door is only rows, its own and its timer's, and outlives any number of restarts."""

    name = "open_door"
    signals = {"hold": Hold}

    def on_start(self, w: Workflow[DoorState], payload: NoPayload) -> None:
        w.db.door.insert(id=w.entity_id, workflow_id=w.id)
        w.timer("close", after_us=seconds(10))

    def on_hold(self, w: Workflow[DoorState], payload: Hold) -> None:
        w.state.times_held += 1
        w.timer("close", after_us=payload.for_us)  # arming a timer again moves it

    def on_timer(self, w: Workflow[DoorState], timer: Timer) -> None:
        w.db.door.delete(w.entity_id)
        w.complete({"times_held": w.state.times_held})


module = Module("castle", includes=[WorkflowEngine(types=[OpenDoor])])


@module.table(public=True)
class Door:
    """A door that stands open, and the workflow that will close it."""

    id: int = primary_key()
    workflow_id: int


@module.reducer
def open_door(ctx: Context, door_id: int) -> int:
    """Open a door, or find it open; returns the workflow to signal."""
    door = ctx.db.door.get(door_id)
    return int(door.workflow_id if door else ctx.workflows.start("open_door", entity_id=door_id))


def main() -> None:
    """Opened at 0 s, held at 8 s for ten more, killed at once, and started again an hour later."""
    with Rig(module) as rig:
        workflow = rig.call("open_door", 7)
        rig.advance(seconds(8))
        print("held:", rig.call("workflow_signal", workflow, "hold", {"for_us": seconds(10)}))
        rig.crash()
        rig.advance(hours(1))  # the type's clock is ``world``, which stands still while the server is down
        rig.reopen()
        rig.advance(seconds(10) - 1)
        print("ten seconds later, but for a microsecond:", rig.rows("door"))
        rig.advance(1)
        print("then:", rig.rows("door"), rig.row("workflow", workflow).result)


if __name__ == "__main__":
    main()
