"""A quest: progress by signals, an end by time, by giving up, or by a step that pays the reward."""

from __future__ import annotations

from typing import Any

from workflows import NoPayload, Payload, seconds
from workflows.scripts import Run, Script

from .notes import note


class QuestStart(Payload):
    """How many wolves, in what time."""

    wolves: int = 3
    within_us: int = seconds(600)


class Kill(Payload):
    """So many at once."""

    count: int = 1


class Quest(Script):
    """See the module."""

    name = "quest"
    clock = "wall"
    signals = {"kill": Kill, "abandon": NoPayload, "died": NoPayload}
    queries = {"progress": NoPayload}

    def __init__(self) -> None:
        self.killed = 0

    async def run(self, w: Run, start: QuestStart) -> dict[str, Any]:
        """Count wolves until there are enough, or it is over."""
        ends_at = w.now + start.within_us
        while self.killed < start.wolves:
            chosen = await w.select(
                kill=w.signal("kill"),
                abandon=w.signal("abandon"),
                died=w.signal("died"),
                late=w.sleep_until(ends_at, name="deadline", clock="wall"),
            )
            if chosen.name == "kill":
                self.killed += chosen.value.count
                w.show(f"{min(self.killed, start.wolves)} of {start.wolves}")
            elif chosen.name == "abandon":
                return {"outcome": "abandoned"}
            else:
                raise RuntimeError(f"the quest has failed: {chosen.name}")
        await w.step(note, "reward")
        return {"outcome": "done", "killed": self.killed}

    def query_progress(self, w: Run, payload: NoPayload) -> int:
        """How many wolves there have been."""
        return self.killed
