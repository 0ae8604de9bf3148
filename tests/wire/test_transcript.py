"""The transcript at the end of ``docs/protocol.md`` is true: it is typed into a real arena, line by line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

from tests.wire.serving import ROOT, Server, Wire

DOC = (ROOT / "docs" / "protocol.md").read_text()
ARENA = ROOT / "examples" / "arena"

# What is another in every run; of these only the type is compared.
VARIES = frozenset(
    ("identity", "token", "connection_id", "history_id", "seq", "time_us", "at", "query", "elapsed_us")
).union(("anchor_wall_us", "anchor_value_us"))


class Step(NamedTuple):
    """What a person types (None: just connecting), and what comes back before the next line is typed."""

    typed: str | None
    answers: list[dict[str, Any]]


def transcript() -> list[Step]:
    """The steps of the page."""
    steps = [Step(None, [])]
    text = DOC[DOC.index("```text") :].split("```")[1]
    for mark, line in re.findall(r"^([<>]) (.*)$", text, re.MULTILINE):
        if mark == ">":
            steps.append(Step(line, []))
        else:
            steps[-1].answers.append(json.loads(line))
    return steps


def difference(told: Any, got: Any, where: str = "", varies: bool = False) -> str | None:
    """Where a message is not as the page tells it; None if it is."""
    if isinstance(told, dict) and isinstance(got, dict) and list(told) == list(got):
        found = (difference(told[name], got[name], f"{where}.{name}", name in VARIES) for name in told)
        return next(filter(None, found), None)
    if isinstance(told, list) and isinstance(got, list) and len(told) == len(got):
        pairs = enumerate(zip(told, got, strict=True))
        return next(filter(None, (difference(a, b, f"{where}[{place}]") for place, (a, b) in pairs)), None)
    if varies and type(told) is type(got):
        return None
    if isinstance(told, str) and isinstance(got, str) and told.endswith("…"):
        return None if got.startswith(told[:-1]) and len(got) > len(told) else f"{where}: {got!r} is not {told!r}"
    return None if told == got and type(told) is type(got) else f"{where}: {got!r} is not {told!r}"


def test_the_comparison_notices_what_differs() -> None:
    """A control: other members, types, values, lengths and orders are told; the number of a commit may vary."""
    told = {"id": 1, "ok": [1001, "Zoe"], "seq": 7, "error": "no: …"}
    assert difference(told, {**told, "seq": 9, "error": "no: because"}) is None
    for other in (
        {**told, "error": "no: because", "more": 1},
        {**told, "error": "yes: because"},
        {**told, "error": "no: because", "seq": "7"},
        {**told, "error": "no: because", "id": True},
        {**told, "error": "no: because", "ok": [1001]},
        {**told, "error": "no: because", "ok": [1001, "Ada"]},
        {"seq": 7, "id": 1, "ok": [1001, "Zoe"], "error": "no: because"},
    ):
        assert difference(told, other) is not None, other


def test_every_line_of_the_transcript(tmp_path: Path) -> None:
    """Each typed line is sent as it stands; all that comes back, in its order, is what the page says."""
    steps = transcript()
    assert len(steps) > 8
    with Server(ARENA, tmp_path / "arena") as server, server.raw_socket() as connection:
        wire = Wire(connection)
        seq = wire.hello["seq"]
        assert difference(steps[0].answers, [{"hello": wire.hello}]) is None
        for step in steps[1:]:
            wire.send(step.typed)
            for told in step.answers:
                got = wire.receive()
                assert difference(told, got) is None, f"after {step.typed}: {difference(told, got)}"
                assert got.get("seq", seq) >= seq
                seq = got.get("seq", seq)


def test_the_command_of_the_page(tmp_path: Path) -> None:
    """The program it names connects to the address it names, sends what is typed and shows what comes back."""
    found = re.search(r"(-m websockets) ws://127\.0\.0\.1:3000(\S+)", DOC)
    assert found is not None
    typed = [step.typed for step in transcript()[1:4] if step.typed is not None]
    with Server(ARENA, tmp_path / "arena") as server:
        command = [sys.executable, *found[1].split(), f"ws://127.0.0.1:{server.port}{found[2]}"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        watchdog = threading.Timer(30, process.kill)
        watchdog.start()
        with process:
            assert process.stdin is not None and process.stdout is not None
            for line in typed:
                process.stdin.write(line + "\n")
                process.stdin.flush()
                wanted = f'"id":{json.loads(line)["id"]},"ok":'
                assert any(wanted in shown for shown in process.stdout), line
            process.stdin.close()
        watchdog.cancel()
