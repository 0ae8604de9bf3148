"""Lists over HTTP and the native protocol, and what the commands print and end with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

import workflows
from reactor.cli import backfilling
from reactor.storage.connection import OsDisk
from tests.reactor.cli.conftest import terminal
from tests.reactor.cli.terminal import Terminal
from tests.wire.serving import Server
from workflows.visibility import maintenance
from workflows.visibility.parameters import read_aggregate, read_list

__all__ = ["terminal"]

MODULE = '''"""A game with workflows."""

from reactor import Module
from workflows import WorkflowEngine

module = Module("arena", includes=[WorkflowEngine(attributes={"zone": int, "code": str})])
'''


def _serve(directory: Path) -> Server:
    module = directory / "module.py"
    module.write_text(MODULE)
    return Server(module, directory / "data")


def _start(server: Server, entity: int, **options: Any) -> int:
    payload = {"effect": "stone", "duration_us": 10**12}
    started = server.call("workflow_start_with", "buff", entity, None, payload, options)
    assert started.status == 200, started.body
    id: int = started.json["ok"]["id"]
    return id


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Four buffs in two zones."""
    with _serve(tmp_path_factory.mktemp("lists")) as running:
        for n in range(4):
            _start(running, n, attributes={"zone": n % 2, "code": "7"}, tags=["boss"] if n == 3 else [])
        yield running


@pytest.fixture
def here(server: Server, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal that talks to the server."""
    monkeypatch.setenv("REACTOR_SERVER", server.url)
    monkeypatch.setenv("REACTOR_DATA_DIR", str(server.data_dir))
    return terminal


BASE = "/v1/database/arena/workflows"


def _ids(answer: Any) -> list[int]:
    assert answer.status == 200, answer.body
    return [item["id"] for item in answer.json["ok"]["items"]]


def test_lists_over_http(server: Server) -> None:
    """B30, B32: a GET with parameters, a call with arguments; the same answer."""
    assert _ids(server.http("GET", BASE)) == [4, 3, 2, 1]
    assert _ids(server.http("GET", f"{BASE}?attribute.zone=1&status=Suspended&status=Failed")) == [4, 2]
    assert _ids(server.http("GET", f"{BASE}?tag=boss")) == [4]
    # Declared as text, so a number in the URL is the text it is written as.
    assert _ids(server.http("GET", f"{BASE}?attribute.code=7")) == [4, 3, 2, 1]
    first = server.http("GET", f"{BASE}?limit=3").json["ok"]
    assert first["total"] == 4
    assert _ids(server.http("GET", f"{BASE}?limit=3&cursor={first['cursor']}")) == [1]
    called = server.http("POST", "/v1/database/arena/call/workflow_list", b'{"filter":{"attributes":{"zone":1}}}')
    assert _ids(called) == [4, 2]
    counted = server.http("GET", f"{BASE}/aggregate?by=attribute:zone").json["ok"]
    assert counted["groups"] == [{"key": 0, "count": 2}, {"key": 1, "count": 2}]
    assert counted["used_index"] is True


@pytest.mark.parametrize(
    "query",
    [
        "?colour=red",
        "?status=Sleeping",
        "?limit=many",
        "?limit=0",
        "?limit=1&limit=2",
        "?created.after=1",
        "?created.gte=now",
        "?name_prefix=ab",
        "?cursor=x",
        "/aggregate",
        "/aggregate?by=colour",
        "?total=yes",
        "?attribute.=1",
        "?entity_id=x",
    ],
)
def test_b33_wrong_parameters_are_told(server: Server, query: str) -> None:
    """B33: 400 with the code every wrong argument has."""
    answer = server.http("GET", BASE + query)
    assert (answer.status, answer.code) == (400, "bad_arguments")


def test_other_routes_stay_what_they_were(server: Server) -> None:
    """The wrong database, method and path."""
    assert server.http("GET", "/v1/database/other/workflows").code == "unknown_database"
    assert server.http("POST", BASE).status == 405
    assert server.http("GET", f"{BASE}/nothing").status == 404


def test_parameters_as_arguments() -> None:
    """What each parameter becomes."""
    pairs = [
        ("status", "Failed"),
        ("id", "3"),
        ("id", "-4"),
        ("created.gte", "5"),
        ("created.lt", "9"),
        ("attribute.a", "1"),
        ("attribute.a", "x"),
        ("attribute.b", "true"),
        ("attribute.c", '"7"'),
        ("attribute.d", "[1]"),
        ("total", "false"),
    ]
    assert read_list(pairs, {}) == {
        "total": False,
        "filter": {
            "status": ["Failed"],
            "id": [3, -4],
            "created": {"gte": 5, "lt": 9},
            "attributes": {"a": [1, "x"], "b": [True], "c": ["7"], "d": ["[1]"]},
        },
    }
    assert read_aggregate([("by", "status")], {}) == {"by": "status"}


def test_the_commands_list_and_count(here: Terminal) -> None:
    """One object a line in a pipe, a table when asked for; where the next page begins is told beside it."""
    listed = here.run("workflows", "list", "--attribute", "zone=1", "-n", "1")
    assert listed.status == 0
    assert [orjson.loads(line)["id"] for line in listed.out.splitlines()] == [4]
    assert "--cursor" in listed.err
    cursor = listed.err.split()[-1]
    rest = here.run("workflows", "list", "--attribute", "zone=1", "-n", "1", "--cursor", cursor)
    assert [orjson.loads(line)["id"] for line in rest.out.splitlines()] == [2]
    shown = here.run("workflows", "list", "--text", "--created", ">=1", "--type", "buff").out
    assert shown.splitlines()[0].startswith("id | name")
    assert "(4 of 4 workflows)" in shown
    counted = orjson.loads(here.run("workflows", "aggregate", "--by", "status").out)
    assert counted["groups"] == [{"key": "Suspended", "count": 4}]
    assert "(4 workflows)" in here.run("workflows", "aggregate", "--by", "tag", "--text").out


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--status", "Sleeping"],
        ["list", "--attribute", "zone"],
        ["list", "--created", "yesterday"],
        ["list", "--cursor", "x"],
        ["aggregate", "--by", "colour"],
        ["aggregate"],
    ],
)
def test_d80_wrong_options_end_with_2(here: Terminal, arguments: list[str]) -> None:
    """D80: usage and 4xx."""
    assert here.run("workflows", *arguments).status == 2


# -- backfill-visibility ---------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory whose index was dropped, with five workflows; nobody serves it."""
    with _serve(tmp_path) as running:
        for n in range(5):
            _start(running, n)
    maintenance.drop(tmp_path / "data", maintenance.Now(1, "a" * 32))
    return tmp_path / "data"


def test_b10_to_b21_the_command(terminal: Terminal, data: Path) -> None:
    """B10, B13, B15, B18, B19, B20, B21, B24: fill, look, fill again, drop; each with its exit code."""
    storage = ["backfill-visibility", "--storage", str(data)]
    assert terminal.run(*storage, "--verify").status == 3
    done = terminal.run(*storage)
    assert (done.status, done.out) == (0, "Backfill complete. Processed 5 workflows. Watermark advanced.\n")
    verbose = terminal.run(*storage, "--verbose", "--batch-size", "2").out.splitlines()
    assert [line.split(",")[0] for line in verbose[:-1]] == ["Processed 2 workflows", "Processed 4 workflows"]
    assert verbose[0].endswith("per second")
    assert verbose[-1] == "Backfill complete. Processed 5 workflows. Watermark advanced."
    verified = terminal.run(*storage, "--verify", "--deep")
    assert verified.status == 0
    assert verified.out.splitlines()[0] == "Workflows: 5. Index rows: 5. Watermark: version 1, 5 processed."
    dropped = terminal.run(*storage, "--drop")
    assert (dropped.status, dropped.out.split(".")[0]) == (0, "Dropped the index: 5 rows")
    gaps = terminal.run(*storage, "--verify")
    assert gaps.status == 3
    assert "no_manifest: 5" in gaps.out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--storage"],
        ["--storage", "nowhere"],
        ["--storage", ".", "--nope"],
        ["--storage", ".", "--batch-size", "x"],
        ["--storage", ".", "--batch-size", "0"],
        ["--storage", ".", "--deep"],
        ["--storage", ".", "--drop", "--verify"],
    ],
)
def test_b16_exit_1_for_usage_and_what_cannot_be_opened(terminal: Terminal, arguments: list[str]) -> None:
    """B10, B16: 2 has another meaning here, so mistakes of use end with 1."""
    ended = terminal.run("backfill-visibility", *arguments)
    assert ended.status == 1
    assert ended.err
    if not arguments:
        assert "Usage:" in ended.err
        assert "--storage" in ended.err


def test_b16_exit_1_while_a_server_runs(here: Terminal, server: Server) -> None:
    """B16, B23: it is named."""
    ended = here.run("backfill-visibility", "--storage", str(server.data_dir))
    assert ended.status == 1
    assert "data_in_use" in ended.err


def test_b16_exit_2_for_a_store_that_cannot(terminal: Terminal, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """B16: scripted: the store lacks what a backfill needs."""

    def fill(*_: Any, **__: Any) -> Any:
        raise maintenance.Incapable("projection.db cannot be written")

    monkeypatch.setattr(maintenance, "backfill", fill)
    ended = terminal.run("backfill-visibility", "--storage", str(data))
    assert ended.status == 2
    assert "cannot be written" in ended.err


def test_b17_exit_3_for_conflicts_until_it_is_dropped(
    terminal: Terminal, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B16, B17: the mark is not advanced; a plain retry is refused; after --drop all is well."""
    fill = maintenance.backfill

    def disturbed(directory: Path, now: maintenance.Now, **hooks: Any) -> Any:
        return fill(directory, now, **hooks, between=lambda id: _poke(directory) if id == 2 else None)

    # The file is locked against others meanwhile, so the writer that should not be there is played by a manifest.
    monkeypatch.setattr(maintenance, "backfill", disturbed)
    _plant(data)
    storage = ["backfill-visibility", "--storage", str(data)]
    ended = terminal.run(*storage)
    assert ended.status == 3
    assert "Watermark not advanced" in ended.err
    assert "--drop" in ended.err
    monkeypatch.undo()
    again = terminal.run("backfill-visibility", "--storage", str(data))
    assert again.status == 3
    assert "The run before met 1 conflicts" in again.err
    assert terminal.run("backfill-visibility", "--storage", str(data), "--drop").status == 0
    assert terminal.run("backfill-visibility", "--storage", str(data)).status == 0
    assert terminal.run("backfill-visibility", "--storage", str(data), "--verify", "--deep").status == 0


def _plant(directory: Path) -> None:
    """B22: a manifest that nobody of ours wrote."""
    raw = OsDisk().connect(str(directory / "projection.db"))
    raw.execute("INSERT INTO workflow_visibility_manifest VALUES (3, 1, hex(zeroblob(3000)))")
    raw.close()


def _poke(directory: Path) -> None:
    raw = OsDisk().connect(str(directory / "projection.db"))
    raw.execute("PRAGMA busy_timeout=0")
    with pytest.raises(Exception, match="locked"):
        raw.execute("UPDATE workflow SET current_step = 'poked'")
    raw.close()


def test_the_exit_codes_are_documented() -> None:
    """B7: all four of them, success too."""
    text = (Path(workflows.__file__).parents[1] / "docs" / "cli.md").read_text()
    section = text.partition("## backfill-visibility")[2].partition("\n## ")[0]
    codes = (backfilling.DONE, backfilling.FAILED, backfilling.INCAPABLE, backfilling.CONFLICTS)
    assert codes == (0, 1, 2, 3)
    for code in codes:
        assert f"| {code} |" in section
    assert "Backfill complete. Processed" in section
