"""What the arena looks like in a terminal: beings, running workflows with progress bars, and the zone servers' lines.

The bars move without a message: each is computed from a timer's row, the clock's row and the server's time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from client import elapsed_share, remaining_us
from client.aio import Connection

QUERIES = [
    "SELECT * FROM monster",
    "SELECT * FROM player",
    "SELECT * FROM workflow WHERE status = 'Suspended'",
    "SELECT * FROM workflow_timer WHERE cancelled = FALSE",
    "SELECT * FROM clock",
]
LINES_KEPT = 200


class View:
    """Draws what a connection's mirror holds."""

    def __init__(self, connection: Connection, about: Callable[[], str] = str) -> None:
        self._connection = connection
        self.about = about
        self.said = 0
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)

    def speaker(self, who: str) -> Callable[[str], None]:
        """A function that adds a line said by ``who``."""

        def say(line: str) -> None:
            self.said += 1
            self.lines.append(f"{who}: {line}")

        return say

    async def open(self) -> None:
        """Subscribe to what is drawn, and learn the server's time."""
        await self._connection.subscribe(QUERIES)
        await self._connection.time()

    def render(self, height: int = 40) -> RenderableType:
        """The whole picture for a terminal of this many lines."""
        layout = Layout()
        layout.split_column(Layout(name="top", ratio=3), Layout(name="bottom", ratio=2))
        workflows = Panel(self._workflows(height // 2), title=self._title())
        layout["top"].split_row(Layout(Panel(self._beings(), title="beings")), Layout(workflows))
        shown = list(self.lines)[-max(height * 2 // 5 - 2, 3) :]
        layout["bottom"].update(Panel(Text("\n".join(shown)), title="what the zone servers say"))
        return layout

    def _title(self) -> str:
        state = self._connection.state
        return f"live workflows · seq {self._connection.seq} · {state} · {self.about()}"

    def _beings(self) -> RenderableType:
        table = Table.grid(padding=(0, 1), expand=True)
        for name in ("monster", "player"):
            for row in self._connection.table(name):
                more = f"kills {row.kills} swords {row.swords}" if name == "player" else ""
                bar = ProgressBar(total=row.max_hp, completed=row.hp, width=16)
                health = bar if row.hp else Text("dead", style="dim")
                table.add_row(f"{row.zone}", f"{row.name} {row.id}", health, f"{row.hp}", more)
        return table

    def _workflows(self, rows_max: int) -> RenderableType:
        table = Table.grid(padding=(0, 1), expand=True)
        timers: dict[int, Any] = {}
        for timer in self._connection.table("workflow_timer"):
            first = timers.get(timer.workflow_id)
            if first is None or timer.scheduled_at < first.scheduled_at:
                timers[timer.workflow_id] = timer
        for row in list(self._connection.table("workflow"))[-rows_max:]:
            table.add_row(
                row.workflow_type, f"of {row.entity_id}", row.current_step, *self._progress(timers.get(row.id))
            )
        return Group(table)

    def _progress(self, timer: Any) -> tuple[RenderableType, str]:
        if timer is None:
            return Text("waits for a signal", style="dim"), ""
        clock = self._connection.table("clock").get(timer.clock)
        now = self._connection.server_now_us()
        left = remaining_us(timer.scheduled_at, clock, now)
        share = elapsed_share(timer.armed_at, timer.scheduled_at, clock, now)
        label = "stands still" if left is None else f"{timer.name} in {left / 1e6:.1f} s"
        return ProgressBar(total=1.0, completed=share, width=14), label
