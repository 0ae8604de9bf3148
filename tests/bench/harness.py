"""Processes, directories and what /proc says about them: what the benchmarks have in common."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.report import Report, filesystem_of

_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
_MEMORY_FILESYSTEMS = ("tmpfs", "ramfs", "devtmpfs")
# A reactor stores and projects everything before it ends.
_STOP_S = 150.0


@dataclass(frozen=True)
class Plan:
    """How much a run does; ``quick`` only shows that everything works."""

    quick: bool
    directory: Path

    def pick(self, full: Any, quick: Any) -> Any:
        """The size for this run."""
        return quick if self.quick else full

    @property
    def seconds(self) -> float:
        """Length of one round of load."""
        return 0.6 if self.quick else 2.0

    @property
    def rounds(self) -> int:
        """Rounds of figures that take turns."""
        return 1 if self.quick else 5

    def fresh(self, name: str) -> Path:
        """A directory of that name that does not exist yet."""
        path = self.directory / name
        shutil.rmtree(path, ignore_errors=True)
        return path


Benchmark = Callable[[Plan, Report], None]


@contextlib.contextmanager
def workplace(quick: bool) -> Iterator[Plan]:
    """The plan of a run with a directory on a real disk, removed at the end."""
    _allow_many_files()
    # Whoever ends the run ends its servers too, and leaves nothing on the disk.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    directory = Path(tempfile.mkdtemp(prefix="reactor-bench-", dir=_disk()))
    try:
        yield Plan(quick, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _disk() -> Path:
    """A place for temporary files that is not memory: what is synced there must reach a disk."""
    asked = os.environ.get("BENCH_DIR")
    if asked:
        return Path(asked)
    for place in (Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd()):
        if place.is_dir() and filesystem_of(place) not in _MEMORY_FILESYSTEMS:
            return place
    return Path.cwd()


def _allow_many_files() -> None:
    """A thousand connections need more than the usual 1,024 open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8_192 if hard == resource.RLIM_INFINITY else min(8_192, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def median(values: Sequence[float]) -> float:
    """The median; ``nan`` of nothing."""
    return statistics.median(values) if values else float("nan")


def percentile(ordered: Sequence[float], fraction: float) -> float:
    """A percentile of values in ascending order; ``nan`` of nothing."""
    return ordered[min(int(len(ordered) * fraction), len(ordered) - 1)] if ordered else float("nan")


# -- processes -----------------------------------------------------------------------------------


class Child:
    """A helper process of the run. It tells one JSON object a line: first that it is there, then what it is asked."""

    def __init__(self, *arguments: str, first: str = "", stop_s: float = 5.0) -> None:
        """``first`` is what it is told at once, ``stop_s`` how long it may take to stop when it is asked to."""
        self._stop_s = stop_s
        self._name = " ".join(arguments)
        self._began = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid
        try:
            if first:
                self._say(first)
            self.hello = self.hear()
        except BaseException:
            self.stop()
            raise
        self.start_s = time.perf_counter() - self._began
        """From the start of the process to its first word."""

    def hear(self) -> dict[str, Any]:
        """The next thing it tells; ``RuntimeError`` when it has ended instead."""
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not line:
            raise RuntimeError(f"the process of {self._name} ended with status {self._process.wait()}")
        told: dict[str, Any] = json.loads(line)
        return told

    def ask(self, word: str) -> dict[str, Any]:
        """Say a word to it and hear the answer."""
        self._say(word)
        return self.hear()

    def _say(self, word: str) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(word + "\n")
            self._process.stdin.flush()

    def signal_and_hear(self, number: signal.Signals) -> dict[str, Any]:
        """Send it a signal that makes it tell something."""
        self._process.send_signal(number)
        return self.hear()

    def stop(self) -> None:
        """Ask it to stop (SIGTERM); end it if it does not."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(self._stop_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.hello["port"])

    @property
    def path(self) -> str:
        """The path of its WebSocket."""
        return str(self.hello.get("path", "/"))


def reactor(module: str, directory: Path, *options: str) -> Child:
    """A reactor with ``tests.bench.modules.<module>`` on ``directory``; option ``--watch`` lets it watch its loop."""
    return Child("tests.bench.serve", module, str(directory), *options, stop_s=_STOP_S)


def echo() -> Child:
    """The echo server on the same stack, for requests to any module."""
    return Child("tests.bench.echo")


def plain(mode: str, directory: Path) -> Child:
    """The plain `websockets` server in one of its modes."""
    directory.mkdir(parents=True, exist_ok=True)
    return Child("tests.bench.plain", mode, str(directory))


def sql(server: Child, statement: str) -> list[list[Any]]:
    """Ask a reactor in SQL; returns the rows."""
    database = server.path.split("/")[3]
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/v1/database/{database}/sql", data=statement.encode(), method="POST"
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        rows: list[list[Any]] = json.load(answer)["rows"]
        return rows


# -- what /proc says -----------------------------------------------------------------------------


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found += parents.get(parent, [])
    return found


def cpu_s(pid: int) -> float:
    """CPU seconds used so far by a process and its descendants."""
    total = 0.0
    for member in tree(pid):
        with contextlib.suppress(OSError):
            total += own_cpu_s(member)
    return total


def own_cpu_s(pid: int) -> float:
    """CPU seconds used so far by one process alone."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def rss_bytes(pid: int) -> int:
    """Resident memory of one process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    return 0


def pss_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants, pages that several share counted once."""
    total = 0
    for member in tree(pid):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) << 10
    return total


def settle(*servers: Child, limit_s: float = 20.0) -> None:
    """Wait until servers rest, so that the projection of one round does not slow the next round's baseline."""
    until = time.perf_counter() + limit_s
    calm = 0
    while calm < 2 and time.perf_counter() < until:
        before = sum(cpu_s(server.pid) for server in servers)
        time.sleep(0.1)
        used = sum(cpu_s(server.pid) for server in servers) - before
        calm = calm + 1 if used <= _TICK_S else 0
