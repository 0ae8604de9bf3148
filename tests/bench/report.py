"""What a run prints: the machine and the versions, then one line a figure."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_LIBRARIES = ("websockets", "uvloop", "uvicorn", "msgspec", "orjson", "sqlglot", "apscheduler", "dbos")


def machine(data: Path) -> list[str]:
    """The machine and the versions, one fact a line; ``data`` is where the databases of the run lie."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [
        f"machine   {cores} cores, {_cpu_model()}, {_memory_gib():.1f} GiB memory",
        f"kernel    {platform.system()} {platform.release()} {platform.machine()}; data on {filesystem_of(data)}",
        f"python    {platform.python_implementation()} {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        "libraries " + ", ".join(f"{name} {found}" for name in _LIBRARIES if (found := _version(name))),
        f"load      {os.getloadavg()[0]:.2f} processes ready to run in the minute before",
    ]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown CPU"


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)


def filesystem_of(path: Path) -> str:
    """The type of the file system that ``path`` lies on; ``unknown`` where that cannot be told."""
    best = ("", "unknown")
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return best[1]
    for line in mounts:
        _, mount, kind, *_ = line.split()
        if path.resolve().is_relative_to(mount) and len(mount) >= len(best[0]):
            best = (mount, kind)
    return best[1]


@dataclass
class Report:
    """The figures of a run; each is printed as soon as it is known.

    ``missed`` are figures below what is wanted, ``broken`` those whose result was wrong, whatever the speed.
    """

    figures: int = 0
    missed: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def heading(self, text: str) -> None:
        """A line between the themes."""
        print(f"\n{text}", flush=True)

    def figure(
        self,
        name: str,
        value: str,
        *,
        beside: str = "",
        wanted: str = "",
        met: bool | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """One figure, the baseline ``beside`` it, what is ``wanted``, whether that was ``met`` (None: no target)."""
        verdict = "" if met is None else "ok" if met else "MISSED"
        self.figures += 1
        if met is False:
            self.missed.append(name)
        line = f"{name:<38} {value:>16}   {beside:<44} {wanted and 'wanted ' + wanted:<18} {verdict:<7}"
        print((line + "  ".join(notes)).rstrip(), flush=True)

    def ratio(
        self,
        name: str,
        value: float,
        unit: str,
        baseline: float,
        *,
        of: str,
        at_least: float | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """A rate beside a baseline rate of the same unit; the target is a least ratio."""
        found = value / baseline if baseline else float("nan")
        self.figure(
            name,
            f"{value:,.0f} {unit}",
            beside=f"{found:.2f} × {of} ({baseline:,.0f} {unit})",
            wanted="" if at_least is None else f"≥ {at_least:g} ×",
            met=None if at_least is None else found >= at_least,
            notes=notes,
        )

    def check(self, what: str, holds: bool, found: str) -> None:
        """A result that must be right at any speed."""
        print(f"{what:<38} {found:>16}   {'right' if holds else 'WRONG'}", flush=True)
        if not holds:
            self.broken.append(what)

    def note(self, text: str) -> None:
        """A remark below a figure."""
        print(f"    {text}", flush=True)

    def finish(self) -> int:
        """The last lines; the exit status: 1 if a result was wrong. A missed target is no failure of the run."""
        print(f"\n{self.figures} figures, {len(self.missed)} below what is wanted", flush=True)
        for name in self.missed:
            print(f"    {name}")
        for what in self.broken:
            print(f"WRONG: {what}", file=sys.stderr)
        return 1 if self.broken else 0
