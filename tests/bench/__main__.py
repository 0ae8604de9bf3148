"""``python -m tests.bench [NAME ...] [--quick]``: measure, print, compare with what is wanted.

Without names everything runs except the peers, which need an extra (`make bench-peers`). ``--quick`` does little of
everything, to see that it works; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from tests.bench import bench_routing
from tests.bench.bench_fanout import fanout
from tests.bench.bench_groups import groups
from tests.bench.bench_parked import parked
from tests.bench.bench_peers import peers
from tests.bench.bench_reload import swap
from tests.bench.bench_scripts import scripts
from tests.bench.bench_subscriptions import subscriptions
from tests.bench.bench_timers import drain, lateness
from tests.bench.bench_transfer import single, transfer
from tests.bench.bench_visibility import visibility
from tests.bench.bench_workflows import start
from tests.bench.harness import Benchmark, Plan, workplace
from tests.bench.report import Report, machine


def routing(plan: Plan, report: Report) -> None:
    """The routing of changes to subscriptions, in process."""
    report.heading("routing of changes to subscriptions, in process")
    bench_routing.main()


BENCHMARKS: dict[str, Benchmark] = {
    "transfer": transfer,
    "subscriptions": subscriptions,
    "single": single,
    "start": start,
    "scripts": scripts,
    "groups": groups,
    "drain": drain,
    "lateness": lateness,
    "fanout": fanout,
    "parked": parked,
    "reload": swap,
    "visibility": visibility,
    "routing": routing,
    "peers": peers,
}
_ONLY_BY_NAME = ("peers",)


def main() -> int:
    """Run what was asked for; 1 if a result was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measures the reactor.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="little of everything, to see that it works")
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    names = asked.names or [name for name in BENCHMARKS if name not in _ONLY_BY_NAME]
    report = Report()
    with workplace(asked.quick) as plan:
        print("\n".join(machine(plan.directory)), flush=True)
        for name in names:
            began = time.perf_counter()
            try:
                BENCHMARKS[name](plan, report)
            except Exception:
                # The others are still worth having.
                traceback.print_exc()
                report.broken.append(f"{name} did not come to its end")
            report.note(f"({name}: {time.perf_counter() - began:.1f} s)")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
