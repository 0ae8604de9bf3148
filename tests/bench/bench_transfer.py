"""Transfers, many at a time and one at a time, beside the echo of the same stack and a plain server with SQLite."""

from __future__ import annotations

import itertools
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from reactor.storage.opening import LOG_FILE
from tests.bench.harness import Child, Plan, cpu_s, echo, median, own_cpu_s, percentile, plain, reactor, settle, sql
from tests.bench.load import Result, call_frame, drive
from tests.bench.modules.bank import ACCOUNTS, OPENING_BALANCE
from tests.bench.plain import synced_database
from tests.bench.report import Report

CONNECTIONS = 4
IN_FLIGHT = 40
_FRAMES = 20_000
_ZIPF = 1.5

Work = list[list[bytes]]


def uniform(accounts: int = ACCOUNTS) -> Work:
    """Transfers between any two accounts."""
    chance = random.Random(1)
    return _work(lambda: chance.randrange(accounts))


def zipf() -> Work:
    """Transfers between accounts of which the n-th is drawn with weight ``n ** -1.5``."""
    weights = list(itertools.accumulate((n + 1) ** -_ZIPF for n in range(ACCOUNTS)))
    chance = random.Random(2)
    numbers = iter(chance.choices(range(ACCOUNTS), cum_weights=weights, k=CONNECTIONS * _FRAMES * 6))
    return _work(lambda: next(numbers))


def _work(draw: Callable[[], int]) -> Work:
    def frame() -> bytes:
        source = target = draw()
        while target == source:
            target = draw()
        return call_frame("transfer", source, target, 1)

    return [[frame() for _ in range(_FRAMES)] for _ in range(CONNECTIONS)]


def run_load(server: Child, work: Work, seconds: float) -> Result:
    """One round of the load of all throughput figures."""
    return drive(server.port, server.path, work, in_flight=IN_FLIGHT, seconds=seconds)


def transfer(plan: Plan, report: Report) -> None:
    """100,000 accounts, a check and two updates a call, 4 connections with 40 in flight each, durable."""
    report.heading(f"transfer: {ACCOUNTS:,} accounts, {CONNECTIONS} connections × {IN_FLIGHT} in flight, durable")
    even, skewed = uniform(), zipf()
    found: dict[str, list[Result]] = {"echo": [], "uniform": [], "zipf": [], "plain": []}
    with (
        reactor("bank", plan.fresh("bank")) as bank,
        echo() as echoing,
        plain("bank", plan.fresh("plain")) as simple,
    ):
        rounds = (("echo", echoing, even), ("uniform", bank, even), ("zipf", bank, skewed), ("plain", simple, even))
        run_load(bank, even, 0.3)
        settle(bank)
        before = {server: (own_cpu_s(server.pid), cpu_s(server.pid)) for server in (echoing, bank)}
        for _ in range(plan.rounds):
            for name, server, work in rounds:
                settle(bank, simple)
                found[name].append(run_load(server, work, plan.seconds))
        settle(bank)
        used = {server: _cpu_since(server, before[server]) for server in before}
        total = sql(bank, "SELECT SUM(balance) FROM account")[0][0]
    rates = {name: median([r.rate for r in results]) for name, results in found.items()}
    latency = {name: _middle(results).shown for name, results in found.items()}
    report.ratio(
        "transfer uniform durable", rates["uniform"], "/s", rates["echo"], of="echo", at_least=0.45,
        notes=(latency["uniform"], f"(echo {latency['echo']})"),
    )  # fmt: skip
    report.ratio(
        "transfer zipf 1.5 durable", rates["zipf"], "/s", rates["uniform"], of="uniform", at_least=0.9,
        notes=(latency["zipf"],),
    )  # fmt: skip
    report.ratio(
        "transfer beside plain server", rates["uniform"], "/s", rates["plain"], of="websockets + SQLite FULL",
        at_least=10, notes=(f"(plain {latency['plain']})",),
    )  # fmt: skip
    calls = sum(r.done for name in ("uniform", "zipf") for r in found[name])
    echoed = sum(r.done for r in found["echo"])
    reactor_us, writer_us = (share / calls * 1e6 for share in used[bank])
    report.note(
        f"CPU a call: reactor {reactor_us:.1f} µs, its writer {writer_us:.1f} µs; "
        f"echo {used[echoing][0] / echoed * 1e6:.1f} µs (tells more than the rates when others use the machine)"
    )
    failed = sum(result.errors for results in found.values() for result in results)
    report.check("transfer: calls refused", failed == 0, f"{failed:,}")
    report.check("transfer: sum of balances", total == ACCOUNTS * OPENING_BALANCE, f"{total:,}")


def _cpu_since(server: Child, before: tuple[float, float]) -> tuple[float, float]:
    """CPU seconds of the process itself, and of its helpers, since ``before``."""
    own = own_cpu_s(server.pid) - before[0]
    return own, cpu_s(server.pid) - before[1] - own


def _middle(results: list[Result]) -> Result:
    """The round with the median rate."""
    return sorted(results, key=lambda result: result.rate)[len(results) // 2]


def single(plan: Plan, report: Report) -> None:
    """One call at a time: beside a bare round trip of the same stack plus one synced SQLite commit."""
    report.heading("one call at a time, durable")
    work = [uniform()[0]]
    directory = plan.fresh("alone")
    trips: dict[str, list[float]] = {"echo": [], "call": [], "sync": []}
    with reactor("bank", directory) as bank, echo() as echoing:
        seconds = plan.seconds / 2
        first = drive(bank.port, bank.path, work, in_flight=1, seconds=0.3)
        record_bytes = _record_bytes(directory)
        for number in range(plan.rounds):
            settle(bank)
            trips["echo"].append(
                drive(echoing.port, echoing.path, work, in_flight=1, seconds=seconds).percentile_ms(0.5)
            )
            trips["sync"].append(_sync_ms(plan.fresh(f"sync{number}"), record_bytes, seconds))
            result = drive(bank.port, bank.path, work, in_flight=1, seconds=seconds)
            trips["call"].append(result.percentile_ms(0.5))
    report.check("single: calls refused", first.errors + result.errors == 0, f"{first.errors + result.errors:,}")
    call, bare, sync = (median(trips[name]) for name in ("call", "echo", "sync"))
    ratio = call / (bare + sync)
    report.figure(
        "one call at a time, durable, p50",
        f"{call:.3f} ms",
        beside=f"{ratio:.2f} × (round trip {bare:.3f} + sync {sync:.3f} ms)",
        wanted="≤ 2 ×",
        met=ratio <= 2,
        notes=(f"p99 {result.percentile_ms(0.99):.2f} ms, {result.rate:,.0f} /s, a record of {record_bytes} bytes",),
    )


def _record_bytes(directory: Path) -> int:
    """The size of the log record of one transfer that was stored alone."""
    with sqlite3.connect(f"file:{directory / LOG_FILE}?mode=ro", uri=True) as log:
        found = log.execute("SELECT avg(length(payload)) FROM record WHERE first_seq = last_seq AND first_seq > 10")
        return round(found.fetchone()[0] or 100)


def _sync_ms(directory: Path, record_bytes: int, seconds: float) -> float:
    """The median time of one commit of one such record by a program that does nothing else."""
    directory.mkdir()
    database = synced_database(directory / "sync.db")
    database.execute("CREATE TABLE record (seq INTEGER PRIMARY KEY, at_us INTEGER, crc INTEGER, payload BLOB)")
    payload, took = b"x" * record_bytes, []
    until = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < until:
        database.execute(
            "INSERT INTO record (at_us, crc, payload) VALUES (1700000000000000, 4000000000, ?)", (payload,)
        )
        took.append((time.perf_counter() - begin) * 1e3)
    database.close()
    return percentile(sorted(took), 0.5)
