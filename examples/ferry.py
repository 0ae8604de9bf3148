"""A ferry that takes one party at a time. The others stand in line, and nobody is in it twice.

    reactor run examples/ferry.py
    reactor call workflow_start_with '["crossing", 1, null, {"party": "elves"}, {"request_id": "elves-1"}]'
    reactor sql "SELECT * FROM workflow_queue"

``python -m examples.ferry`` plays it, with a crash, on the simulated clock.
"""

from __future__ import annotations

import msgspec

from reactor import Module, minutes
from reactor.testing import Rig
from workflows import Exclusive, Handler, Payload, Timer, Workflow, WorkflowEngine


class CrossingState(msgspec.Struct):
    """Who is on board."""

    party: str


class CrossingStart(Payload):
    """What a crossing is started with."""

    party: str


class Crossing(Handler[CrossingState]):
    """Two minutes on the water. There is one at a time for each ferry, which is the entity."""

    name = "crossing"
    clock = "wall"
    exclusive = Exclusive(on_conflict="queue")

    def on_start(self, w: Workflow[CrossingState], payload: CrossingStart) -> None:
        """Cast off: for a party that had to wait, in the commit in which the one before it has landed."""
        w.step = "on the water"
        w.state = CrossingState(payload.party)
        w.timer("land", after_us=minutes(2))

    def on_timer(self, w: Workflow[CrossingState], timer: Timer) -> None:
        """The other side."""
        w.complete({"party": w.state.party})


module = Module("ferry", includes=[WorkflowEngine(types=[Crossing])])


def main() -> None:
    """Three parties come. One sends its request twice, one does not wait longer than three minutes."""
    with Rig(module) as rig:
        start = rig.clock.now()

        def come(party: str, **options: object) -> None:
            asked = ["crossing", 1, None, {"party": party}, {"request_id": f"{party}-1", **options}]
            answer = rig.call("workflow_start_with", *asked)
            print(f"{party:8} {answer['outcome']:8} as {answer['name']}")

        come("elves")
        come("dwarves")
        come("dwarves")
        come("hobbits", chain_deadline_us=minutes(3))
        rig.advance(minutes(1))
        rig.crash()
        rig.reopen()
        rig.advance(minutes(10))
        for row in rig.rows("workflow"):
            print(f"{row.name} {row.status:9} after {(row.ended_at - start) // minutes(1)} min")


if __name__ == "__main__":
    main()
