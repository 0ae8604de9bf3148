"""Run seeds: ``python -m tests.simulation 81723`` replays one, ``--count 5000`` tries that many fresh ones."""

from __future__ import annotations

import argparse
import secrets
import time

from tests.simulation.world import Flaw, World


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("seeds", nargs="*", type=int)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--flaw", choices=[flaw.name for flaw in Flaw])
    options = parser.parse_args()
    flaw = Flaw[options.flaw] if options.flaw else None
    seeds = options.seeds or [secrets.randbits(48) for _ in range(options.count)]
    began = time.perf_counter()
    crashes = sum(World(seed, flaw).run().crashes for seed in seeds)
    print(f"{len(seeds)} seeds, {crashes} crashes, {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
