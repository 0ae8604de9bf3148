"""Serves a bench module in a process of its own: ``python -m tests.bench.serve NAME DIRECTORY [--watch]``.

Tells one JSON line when calls are accepted. With ``--watch`` it looks after its own event loop, and SIGUSR1 makes it
tell the longest stall of the loop and the longest garbage collection since the signal before.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from reactor.limits import DEFAULT_LIMITS
from reactor.logbook import Logbook
from reactor.module import Module
from reactor.server.service import Service, Settings
from reactor.server.serving import run

_TICK_S = 0.002


def tell(**facts: Any) -> None:
    """One line for the process that started this one."""
    print(json.dumps(facts), flush=True)


class LoopWatch:
    """A timer that comes back every 2 ms; how late it is, is how long the loop was busy with something else."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stall_s = self._collection_s = self._collecting_since = 0.0
        gc.callbacks.append(self._collecting)
        self._loop.add_signal_handler(signal.SIGUSR1, self._tell)
        self._expected = self._loop.time() + _TICK_S
        self._loop.call_at(self._expected, self._tick)

    def _tick(self) -> None:
        now = self._loop.time()
        self._stall_s = max(self._stall_s, now - self._expected)
        self._expected = now + _TICK_S
        self._loop.call_at(self._expected, self._tick)

    def _collecting(self, phase: str, facts: dict[str, int]) -> None:
        if phase == "start":
            self._collecting_since = time.perf_counter()
        else:
            self._collection_s = max(self._collection_s, time.perf_counter() - self._collecting_since)

    def _tell(self) -> None:
        tell(stall_ms=self._stall_s * 1e3, collection_ms=self._collection_s * 1e3)
        self._stall_s = self._collection_s = 0.0


def main(name: str, directory: str, *options: str) -> int:
    """Serve until SIGTERM."""
    module: Module = importlib.import_module(f"tests.bench.modules.{name}").module
    kept: list[LoopWatch] = []

    def ready(service: Service, address: str) -> None:
        if "--watch" in options:
            kept.append(LoopWatch())
        port = int(address.rpartition(":")[2])
        tell(port=port, pid=os.getpid(), path=f"/v1/database/{module.name}/subscribe")

    logbook = Logbook(DEFAULT_LIMITS.log_lines_max, sys.stderr if "--log" in options else None)
    return run(module, Settings(Path(directory), listen="127.0.0.1:0"), logbook, on_ready=ready)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
