"""Run seeds: ``python -m tests.simulation 81723`` replays one, ``--count 5000`` tries that many fresh ones.

``python -m tests.simulation guild 81723`` does the same with the workflow engine.
"""

from __future__ import annotations

import argparse
import secrets
import time
from typing import Any

from tests.simulation.guild import Guild, GuildFlaw
from tests.simulation.world import Flaw, World


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("seeds", nargs="*", help="numbers, after the word guild for the workflow engine")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--flaw", choices=[flaw.name for kinds in (Flaw, GuildFlaw) for flaw in kinds])
    options = parser.parse_args()
    of_guild = "guild" in options.seeds
    kind: Any = Guild if of_guild else World
    flaws: Any = GuildFlaw if of_guild else Flaw
    flaw = flaws[options.flaw] if options.flaw else None
    seeds = [int(seed) for seed in options.seeds if seed != "guild"]
    seeds = seeds or [secrets.randbits(48) for _ in range(options.count)]
    began = time.perf_counter()
    crashes = sum(kind(seed, flaw).run().crashes for seed in seeds)
    print(f"{len(seeds)} seeds, {crashes} crashes, {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
