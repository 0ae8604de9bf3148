"""What clients ask of the schedules of the guild."""

from __future__ import annotations

from typing import Any

from tests.simulation.guild_calls import COLOURS, GuildCalls
from tests.simulation.machine import SECOND
from workflows.schedules.tables import Overlap

NAMES = ("dawn", "noon", "dusk")
VERBS = ("pause", "resume", "resume", "trigger", "trigger", "backfill", "policy", "delete")


class GuildCalendar(GuildCalls):
    """Schedules are made, changed, halted, run by hand and deleted."""

    def schedule(self) -> None:
        """Make one if there is none of the name, else do something to it."""
        name = self.rng.choice(NAMES)
        known = [row for row in self.table("schedule") if row.name == name and row.status != "deleted"]
        if not known:
            self._create(name)
            return
        verb = self.rng.choice(VERBS)
        policy = self.rng.choice((None, None, *Overlap))
        if verb == "backfill":
            now = self.clock.now()
            self._call(verb, "schedule_backfill", name, now - self.rng.randint(1, 15) * SECOND, now, policy)
        elif verb == "trigger":
            self._call(verb, "schedule_trigger", name, policy)
        elif verb == "pause":
            self._call(verb, "schedule_pause", name, "why not")
        elif verb == "policy":
            self._call(verb, "schedule_update", name, None, {"overlap": self.rng.choice(list(Overlap))})
        else:
            self._call(verb, f"schedule_{verb}", name)

    def _create(self, name: str) -> None:
        rng = self.rng
        spec = {"intervals": [{"every": rng.randint(1, 3) * SECOND, "offset": rng.choice((0, 300_000))}]}
        settings: dict[str, Any] = {
            "overlap": rng.choice(list(Overlap)),
            "catch_up_us": rng.choice((0, 8 * SECOND, 8 * SECOND)),
            "jitter_us": rng.choice((0, 0, SECOND)),
            "max_runs": rng.choice((None, None, None, rng.randint(1, 8))),
        }
        if rng.random() < 0.3:
            settings |= {"command": "chime", "arguments": [name]}
        else:
            span = {"lasts_us": rng.randint(0, 9) * SECOND, "is_bad": rng.random() < 0.2}
            settings |= {"workflow_type": "spark", "payload": span, "correlation_id": rng.choice((None, *COLOURS))}
        self._call("create", "schedule_create", name, spec, settings)
