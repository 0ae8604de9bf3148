"""A schedule: the market opens every morning at six, as Berlin reads the clock, also when clocks are changed.

    reactor run examples/market_day.py
    reactor sql "SELECT name, status, next_at FROM schedule"
    reactor sql "SELECT run_name, outcome FROM schedule_run"

The owner of the database may open it now, with ``schedule_trigger``, and do what else ``docs/schedules.md`` tells.

``python -m examples.market_day`` plays four days in March with a crash on each, on the simulated clock.
"""

from __future__ import annotations

import msgspec

from reactor import Context, Module, hours
from reactor.testing import Rig
from workflows import Handler, NoPayload, Timer, Workflow, WorkflowEngine


class MarketState(msgspec.Struct):
    """What a market day remembers."""

    sold: int = 0


class Market(Handler[MarketState]):
    """Open for eight hours; takes what is sold."""

    name = "market"
    clock = "wall"
    signals = {"sell": NoPayload}

    def on_start(self, w: Workflow[MarketState], payload: NoPayload) -> None:
        w.step = "open"
        w.timer("close", after_us=hours(8))

    def on_sell(self, w: Workflow[MarketState], payload: NoPayload) -> None:
        w.state.sold += 1

    def on_timer(self, w: Workflow[MarketState], timer: Timer) -> None:
        w.complete({"sold": w.state.sold})


engine = WorkflowEngine([Market])
module = Module("market_day", includes=[engine])
MORNINGS = {"cron": ["0 6 * * *"], "time_zone": "Europe/Berlin"}


@module.init
def plan(ctx: Context) -> None:
    """Once, in a new database."""
    ctx.schedules.create("market", MORNINGS, workflow_type="market", catch_up_us=hours(2))


def main() -> None:
    """From Friday, 29 March 2024, midnight UTC; on Sunday the clocks go forward."""
    with Rig(module, start_us=1_711_670_400_000_000) as rig:
        for day in range(4):
            # Down from three to half past five UTC: the market opens late, but it opens.
            rig.advance(hours(3))
            rig.crash()
            rig.advance(hours(2.5))
            rig.reopen()
            (run,) = (run for run in rig.rows("schedule_run") if run.outcome == "running")
            for _ in range(day):
                rig.call("workflow_signal", run.workflow_id, "sell")
            rig.advance(hours(18.5))
        for run in rig.rows("schedule_run"):
            print(f"{run.run_name}: {run.outcome}, {rig.row('workflow', run.workflow_id).result}")


if __name__ == "__main__":
    main()
