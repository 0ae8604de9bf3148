"""The small examples do what they say: each is run the way its first lines tell, and its words are checked."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from examples import (
    blocking_script,
    counter,
    ferry,
    idempotent,
    live,
    market_day,
    ordered,
    own_workflow,
    presence,
    samples,
    schedule,
    worker,
)
from reactor import seconds
from reactor.loading import load_module
from reactor.module import Module
from reactor.testing import OWNER, Rig
from tests.wire.serving import ROOT, Server, reactor

FOLDER = ROOT / "examples"
FILES = sorted(path for path in FOLDER.glob("*.py") if path.name != "__init__.py")
MODULES = [path for path in FILES if path.stem != "blocking_script"]
SCRIPTS = ("counter", "ferry", "idempotent", "market_day", "ordered", "own_workflow", "presence", "schedule", "worker")


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines printed since the last time."""
    return capsys.readouterr().out.splitlines()


# -- all of them -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_is_small_and_says_how_it_is_run(path: Path) -> None:
    """One idea fits 80 lines; the docstring has the commands."""
    text = path.read_text()
    assert len(text.splitlines()) <= 80
    docs = text.split('"""')[1]
    assert f"python -m examples.{path.stem}" in docs
    assert "reactor run examples/" in docs


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_it_can_be_served(path: Path, tmp_path: Path) -> None:
    """`reactor run examples/NAME.py` finds the module; it starts, and opens again on its own files."""
    module = load_module(path)
    assert isinstance(module, Module)
    with Rig(module, directory=tmp_path) as rig:
        rig.stop()
        rig.reopen()


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_can_be_run_as_a_script(name: str, tmp_path: Path) -> None:
    """`python -m examples.NAME` prints something and leaves nothing behind."""
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", f"examples.{name}"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) >= 3
    assert list(tmp_path.iterdir()) == []


# -- one by one ------------------------------------------------------------------------------------


def test_counter_leaves_nothing_of_a_failed_call(capsys: pytest.CaptureFixture[str]) -> None:
    """A47, A48: four mistakes, four codes, and the counters are as before."""
    counter.main()
    lines = said(capsys)
    assert lines[0] == "apples: 3"
    assert [line.split(":")[0] for line in lines[1:5]] == [
        "sender_error",
        "not_found",
        "bad_arguments",
        "unknown_reducer",
    ]
    assert lines[-1] == "in the end: {'apples': 2, 'pears': 1}"


def test_schedule_makes_up_in_three_ways(capsys: pytest.CaptureFixture[str]) -> None:
    """A85, A90: each bell keeps its phase; of the three rings missed, all, one and none are made up for."""
    schedule.main()
    rings = [
        (found[1], int(found[2]), int(found[3]), int(found[4]))
        for found in (re.match(r"(\w+) +due at +(\d+) s, +(\d+) s late, stands for (\d+)", x) for x in said(capsys))
        if found
    ]
    by_bell = {name: [ring[1:] for ring in rings if ring[0] == name] for name in ("fire_all", "coalesce", "skip")}
    assert by_bell == {
        "fire_all": [(10, 0, 0), (20, 25, 0), (30, 15, 0), (40, 5, 0), (50, 0, 0)],
        "coalesce": [(10, 0, 0), (40, 5, 2), (50, 0, 0)],
        "skip": [(10, 0, 0), (50, 0, 3)],
    }


def test_schedule_is_out_of_reach_of_clients() -> None:
    """A88: what a timer runs, nobody else can."""
    with Rig(schedule.module) as rig:
        for identity in (OWNER, "a" * 32):
            answer = rig.connect(identity).ask(call="ring_bell", args=[{}])
            assert answer["error"]["code"] == "forbidden"
        assert rig.rows("ring") == []


def test_the_ferry_takes_one_party_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    """REQ-7, B41, D101: in the order they came, nobody twice, and not those who would not wait any longer."""
    ferry.main()
    assert said(capsys) == [
        "elves    started  as crossing-1",
        "dwarves  queued   as crossing-2",
        "dwarves  existing as crossing-2",
        "hobbits  queued   as crossing-3",
        "crossing-1 Completed after 2 min",
        "crossing-2 Completed after 4 min",
        "crossing-3 TimedOut  after 3 min",
    ]


def test_market_day_minds_the_change_of_the_clocks(capsys: pytest.CaptureFixture[str]) -> None:
    """B72, D90: six in Berlin, from Sunday on an hour earlier by UTC; late after a crash, but it opens."""
    market_day.main()
    hours = {"2024-03-29": 5, "2024-03-30": 5, "2024-03-31": 4, "2024-04-01": 4}
    assert said(capsys) == [
        f'market-{day}T0{hour}:00:00Z: completed, {{"sold":{sold}}}' for sold, (day, hour) in enumerate(hours.items())
    ]


def test_presence_knows_who_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    """Hooks run for who comes, who leaves and who was cut off; who is refused is told why."""
    presence.main()
    told, saw, after = said(capsys)
    assert told == "mallory is told: you are banned (1008, 'forbidden')"
    assert saw == "the watcher saw: ['insert', 'insert', 'delete'] and now knows 2"
    assert after == "after the crash: []"


def test_presence_counts_connections() -> None:
    """The third connection of one identity is refused, and its refusal leaves no row."""
    with Rig(presence.module) as rig:
        clients = [rig.connect("a" * 32) for _ in range(presence.CONNECTIONS_MAX + 1)]
        assert [client.closed is None for client in clients] == [True] * presence.CONNECTIONS_MAX + [False]
        assert len(rig.rows("online")) == presence.CONNECTIONS_MAX
        clients[0].disconnect()
        assert rig.connect("a" * 32).closed is None


def test_idempotent_buys_once(capsys: pytest.CaptureFixture[str]) -> None:
    """P5: the same key is the same purchase, also after a crash; another request under it is refused."""
    idempotent.main()
    lines = said(capsys)
    assert lines[:3] == ["bought as 1"] * 3
    assert lines[3].startswith("key_reused: ")
    assert lines[-1] == "coins left: 40"


def test_own_workflow_closes_the_door_to_the_microsecond(capsys: pytest.CaptureFixture[str]) -> None:
    """The door closes ten seconds of its clock after it was held, through a crash and an hour of silence."""
    own_workflow.main()
    assert said(capsys) == [
        "held: Suspended",
        "ten seconds later, but for a microsecond: [Door(id=7, workflow_id=1)]",
        'then: [] {"times_held":1}',
    ]


def test_own_workflow_finds_an_open_door_open() -> None:
    """Opening it again does not start another workflow; it closes after ten seconds all the same."""
    with Rig(own_workflow.module) as rig:
        first = rig.call("open_door", 7)
        rig.advance(seconds(9))
        assert rig.call("open_door", 7) == first
        rig.advance(seconds(1))
        assert rig.rows("door") == []
        assert rig.row("workflow", first).result == '{"times_held":0}'


def test_ordered_ranks(capsys: pytest.CaptureFixture[str]) -> None:
    """Best first, of all and of one realm."""
    ordered.main()
    lines = said(capsys)
    assert lines[3:5] == ["dario is number 1 in the south", "elin is number 2 in the north"]
    assert lines[5:] == [
        "of all: [['dario', 140], ['ada', 120], ['elin', 90]]",
        "of the north: [['ada', 120], ['elin', 90], ['cleo', 60]]",
        "by SQL: [['dario'], ['ada']]",
    ]


def test_worker_is_told_of_one_end(capsys: pytest.CaptureFixture[str]) -> None:
    """C27, D57: redelivered under the same key; the late word is refused, and the sale is done once."""
    worker.main()
    claimed, again, done, late, sale = said(capsys)
    assert claimed == "claimed: receipt {'buyer': 7} under key sale-1"
    assert again == "claimed again, same key: True redeliveries: 1"
    assert done == "done: completed"
    assert late.startswith("the first worker, late: the lease of task 1 is not held any more")
    assert sale == 'the sale: {"receipt":"completed"}'


# -- with a real server ------------------------------------------------------------------------------


def test_live_draws_without_messages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A progress bar moves between two commits: one when the loaf goes in, one when it comes out."""
    with Server(FOLDER / "live.py", tmp_path / "data") as server:
        pictures, commits = asyncio.run(asyncio.wait_for(live.watch(server.url, seconds(1)), 30))
        assert server.rows("SELECT loaves FROM shelf") == [[1]]
    assert commits == 2 and pictures >= 5
    out = capsys.readouterr().out
    bars = [len(bar) for bar in re.findall(r"\[(#*) *\]", out)]
    assert bars == sorted(bars) and bars[0] < 10 and bars[-1] > 20
    assert f"{pictures} pictures, 2 commits" in out


def test_worker_mails_a_receipt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The worker of the example on a real server."""
    with Server(FOLDER / "worker.py", tmp_path / "data") as server:
        assert server.call("workflow_start", "sale", 7).json["ok"] == 1
        asyncio.run(asyncio.wait_for(worker.work(server.url, 1), 30))
        assert server.rows("SELECT result FROM workflow") == [['{"receipt":"completed"}']]
    assert said(capsys) == ["mailed to 7, idempotency key sale-1"]


def test_blocking_script_counts_to_a_hundred(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Calls, many at once, a batch, a refusal, SQL: twice, from a script without `await`."""
    with Server(FOLDER / "counter.py", tmp_path / "data") as server:
        for visits in (100, 200):
            assert blocking_script.visit(server.url) == 100
            assert server.rows("SELECT value FROM counter WHERE name = 'visits'") == [[visits]]
    lines = said(capsys)
    assert any(line.startswith("refused: sender_error, ") for line in lines)
    assert lines[-1] == "['value'] [[200]]"


def commands(path: Path) -> list[list[str]]:
    """The `reactor` commands of a docstring that come to an end by themselves, in order."""
    docs = path.read_text().split('"""')[1]
    lines = re.findall(r"^ +reactor ((?:call|sql) .*?)(?: +#.*)?$", docs, re.MULTILINE)
    return [shlex.split(line) for line in lines]


@pytest.mark.parametrize("path", [path for path in MODULES if commands(path)], ids=lambda path: path.stem)
def test_the_commands_of_its_first_lines_work(path: Path, tmp_path: Path) -> None:
    """What a person copies from the docstring is answered."""
    with Server(path, tmp_path / "data") as server:
        for command in commands(path):
            done = reactor(*command, cwd=tmp_path, env={"REACTOR_SERVER": server.url})
            assert done.status == 0, (command, done.err)


def test_the_samples_are_served_from_their_folder(tmp_path: Path) -> None:
    """`reactor run examples/samples`, then the other commands of its first lines; the countdown begins."""
    lines = re.findall(r"^ +reactor (.*)$", samples.__doc__ or "", re.MULTILINE)
    served, *asked = map(shlex.split, lines)
    assert served == ["run", "examples/samples"] and len(asked) >= 2
    with Server(FOLDER / "samples", tmp_path / "data") as server:
        for command in asked:
            done = reactor(*command, cwd=tmp_path, env={"REACTOR_SERVER": server.url})
            assert done.status == 0, (command, done.err)
        assert server.rows("SELECT workflow_type, status FROM workflow") == [["countdown", "Suspended"]]
        assert server.rows("SELECT text FROM note ORDER BY id LIMIT 1") == [["5"]]


def test_enough_commands_are_tried() -> None:
    """The pattern above still finds them."""
    assert sum(len(commands(path)) for path in MODULES) >= 7


def test_idempotent_order_by_http(tmp_path: Path) -> None:
    """Its `curl` line, as a request: the same key and token twice is one purchase."""
    with Server(FOLDER / "idempotent.py", tmp_path / "data") as server:
        answers = [server.call("buy", "ada", "shield", 30, token="t" * 32, key="order-17") for _ in range(2)]
        assert [answer.json["ok"] for answer in answers] == [1, 1]
        assert server.rows("SELECT coins FROM purse") == [[70]]


# -- the README ------------------------------------------------------------------------------------

README = (ROOT / "README.md").read_text()
MODULE, CLIENT = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def dungeon(tmp_path: Path) -> Path:
    """The module of the README as the file it names."""
    path = tmp_path / "dungeon.py"
    path.write_text(MODULE)
    return path


def test_the_module_of_the_readme(dungeon: Path) -> None:
    """A monster dies once, however often it is hit, and is back after thirty seconds."""
    with Rig(load_module(dungeon)) as rig:
        assert [rig.call("hit", 3, 60), rig.call("hit", 3, 60), rig.call("hit", 3, 60)] == [40, 0, 0]
        rig.advance(seconds(30) - 1)
        assert rig.row("monster", 3).hp == 0
        rig.advance(1)
        assert rig.row("monster", 3).hp == 100
        assert rig.sql("SELECT status, COUNT(*) FROM workflow GROUP BY status") == [["Completed", 1]]


def test_the_commands_and_the_client_of_the_readme(
    dungeon: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command is answered, and the snippet prints the change it makes."""
    typed = [shlex.split(line) for line in re.findall(r"^reactor ((?:call|sql|subscribe) .*)$", README, re.MULTILINE)]
    assert [command[0] for command in typed] == ["call", "subscribe", "sql"]
    with Server(dungeon, tmp_path / "data") as server:
        for command in typed:
            enough = ["--timeout", "1"] if command[0] == "subscribe" else []
            done = reactor(*command, *enough, cwd=tmp_path, env={"REACTOR_SERVER": server.url})
            assert done.status == 0, (command, done.err)
            if command[0] != "sql":
                assert "75" in done.out
        scope: dict[str, Any] = {}
        code = CLIENT.replace("ws://127.0.0.1:3000", server.url)
        exec("async def main():\n" + textwrap.indent(code, "    "), scope)
        asyncio.run(asyncio.wait_for(scope["main"](), 30))
    assert capsys.readouterr().out == "3 75 -> 50\n"
