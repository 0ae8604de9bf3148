"""One change and a thousand who watch it, beside the library's own broadcast of the same bytes."""

from __future__ import annotations

from tests.bench.harness import Child, Plan, median, plain, reactor, settle
from tests.bench.load import call_frame, drive
from tests.bench.modules.crowd import ROWS
from tests.bench.readers import Readers
from tests.bench.report import Report

_WATCHERS = 1_000
# Two, so that one frame can be on its way to the disk while another goes out.
_IN_FLIGHT = 2
_QUERY = "SELECT * FROM hot"


def fanout(plan: Plan, report: Report) -> None:
    """Frames and rows that 1,000 connections receive, one and ten rows a frame, both servers in turn."""
    report.heading(f"fan-out to {_WATCHERS:,} subscribers, durable, {_IN_FLIGHT} changes in flight")
    found: dict[str, list[tuple[float, float]]] = {"one": [], "ten": [], "broadcast one": [], "broadcast ten": []}
    lost = 0
    with (
        reactor("crowd", plan.fresh("crowd")) as crowd,
        plain("broadcast", plan.fresh("broadcast")) as library,
        Readers(crowd, _WATCHERS, [[_QUERY]]) as ours,
        Readers(library, _WATCHERS) as theirs,
    ):
        turns = (
            ("one", crowd, ours, "poke_one"),
            ("broadcast one", library, theirs, "poke_one"),
            ("ten", crowd, ours, "poke_ten"),
            ("broadcast ten", library, theirs, "poke_ten"),
        )
        for _ in range(plan.rounds):
            for name, server, readers, reducer in turns:
                rate, size, gone = _round(plan, server, readers, reducer)
                found[name].append((rate, size))
                lost += gone
    rates = {name: median([rate for rate, _ in rounds]) for name, rounds in found.items()}
    sizes = {name: median([size for _, size in rounds]) for name, rounds in found.items()}
    report.ratio(
        "one row a frame, frames delivered", rates["one"], "/s", rates["broadcast one"], of="websockets.broadcast",
        at_least=0.9, notes=(f"{sizes['one']:.0f} bytes a frame, broadcast {sizes['broadcast one']:.0f}",),
    )  # fmt: skip
    report.ratio(
        "ten rows a frame, frames delivered", rates["ten"], "/s", rates["broadcast ten"], of="websockets.broadcast",
        notes=(f"{sizes['ten']:.0f} bytes a frame, broadcast {sizes['broadcast ten']:.0f}",),
    )  # fmt: skip
    report.ratio(
        "ten rows a frame, rows delivered", rates["ten"] * ROWS, "/s", rates["one"], of="one row a frame", at_least=5
    )
    report.check("fan-out: connections lost", lost == 0, f"{lost}")


def _round(plan: Plan, server: Child, readers: Readers, reducer: str) -> tuple[float, float, int]:
    """Frames delivered a second, bytes of a frame, connections lost."""
    settle(server)
    readers.mark()
    drive(server.port, server.path, [[call_frame(reducer)]], in_flight=_IN_FLIGHT, seconds=plan.seconds)
    settle(server)
    told = readers.mark()
    return told["frames"] / told["elapsed_s"], told["bytes"] / told["frames"], told["lost"]
