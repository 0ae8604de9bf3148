"""Play the arena: a server, two zone servers, four bots and a live view. ``make run`` does this.

The server is an ordinary ``reactor run`` in a process of its own, and it stays up until Ctrl-C. Kill it with
``kill -9`` in the middle of a fight, start it again with the command that is printed, and the game goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.live import Live

from client.aio import connect
from examples.arena.bots import NAMES, Bot
from examples.arena.module import ZONES
from examples.arena.view import View
from examples.arena.zone_server import serve

HERE = Path(__file__).parent


def commands(address: str, data: Path, pid: int) -> str:
    """What to try, for people."""
    to = "" if address.endswith(":3000") else f" --server http://{address} --data-dir {data}"
    return "\n".join(
        [
            f"The arena is served at {address} by process {pid}, its data is in {data}. Try, in another terminal:",
            "",
            f'  .venv/bin/reactor sql{to} "SELECT workflow_type, status, COUNT(*) FROM workflow GROUP BY 1, 2"',
            f'  .venv/bin/reactor sql{to} "SELECT name, kills, swords FROM player ORDER BY kills DESC"',
            f'  .venv/bin/reactor subscribe{to} "SELECT * FROM monster WHERE zone = 1"',
            f"  .venv/bin/reactor call{to} bless '[1001]'",
            f"  .venv/bin/reactor logs{to} --follow",
            f"  kill -9 {pid}      # in the middle of a fight; it is started again and the game goes on",
            "",
            "Ctrl-C ends it.",
        ]
    )


class Server:
    """The reactor as a process of its own, started again when it dies."""

    def __init__(self, listen: str, data: Path) -> None:
        self._listen = listen
        self._data = data
        self.starts = 0
        self.process: subprocess.Popen[str] | None = None
        self.address = ""

    def start(self) -> None:
        """Start it and wait until it says where it listens; raises ``SystemExit`` with its words if it does not."""
        listen = self.address or self._listen
        command = [sys.executable, "-m", "reactor", "run", str(HERE), "--listen", listen, "--data-dir", str(self._data)]
        self._data.parent.mkdir(parents=True, exist_ok=True)
        log = self._data.with_suffix(".log")
        with log.open("w") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        self.starts += 1
        for line in self.process.stdout or ():
            for word in line.split():
                if word.startswith("http://"):
                    self.address = word.removeprefix("http://").rstrip("/,;.")
                    return
        raise SystemExit(f"the server did not start; its last words:\n{log.read_text()[-2000:]}")

    async def keep(self) -> None:
        """Start it again whenever it has died."""
        while True:
            await asyncio.sleep(0.2)
            if self.process is not None and self.process.poll() is not None:
                await asyncio.to_thread(self.start)

    def stop(self) -> None:
        """End it in good order."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)


async def play(server: Server, seconds: float | None, show: bool) -> dict[str, int]:
    """Everything but the server; returns what happened, by name. ``seconds`` None plays until Ctrl-C."""
    url = f"ws://{server.address}"
    console = Console()
    bots = [Bot(name, 1 + i % len(ZONES), random.Random(i)) for i, name in enumerate(NAMES)]
    async with connect(url, "arena") as connection:
        view = View(connection, lambda: f"server {server.process.pid if server.process else 'is away'}")
        await view.open()
        tasks = [asyncio.create_task(server.keep())]
        tasks += [asyncio.create_task(serve(zone, url, view.speaker(f"zone {zone}"))) for zone in ZONES]
        tasks += [asyncio.create_task(bot.play(url)) for bot in bots]
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        try:
            await _watch(view, console, stop, seconds, show)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        told = {"lines": view.said, "seq": connection.seq, "starts": server.starts}
        return {**told, "actions": sum(bot.actions for bot in bots)}


async def _watch(view: View, console: Console, stop: asyncio.Event, seconds: float | None, show: bool) -> None:
    until = None if seconds is None else time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        live = stack.enter_context(Live(console=console, screen=True, auto_refresh=False)) if show else None
        while not stop.is_set() and (until is None or time.monotonic() < until):
            if live is not None:
                live.update(view.render(console.height), refresh=True)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.1)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", default="127.0.0.1:3000")
    parser.add_argument("--data-dir", type=Path, default=Path("data/arena"))
    parser.add_argument("--seconds", type=float, default=None, help="stop by itself after this long")
    parser.add_argument("--plain", action="store_true", help="no live view, only what happened at the end")
    options = parser.parse_args()
    server = Server(options.listen, options.data_dir)
    server.start()
    print(commands(server.address, options.data_dir, server.process.pid if server.process else 0), flush=True)
    show = not options.plain and sys.stdout.isatty()
    if show:
        time.sleep(3)
    try:
        told = asyncio.run(play(server, options.seconds, show))
    finally:
        server.stop()
    print("played: " + ", ".join(f"{name} {count}" for name, count in told.items()))


if __name__ == "__main__":
    main()
