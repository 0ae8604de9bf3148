"""A real server whose module is loaded anew while it works: REQ-12, A09, B63."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wire.serving import Server, eventually, reactor

WORKFLOWS = 50
BEAT_US = 25_000
MODULE = """
from typing import Any

from reactor import Context, Module, Timestamp, U32, primary_key
from rules import VERSION
from workflows import Handler, NoPayload, Timer, Workflow, WorkflowEngine


class Npc(Handler[None]):
    name = "npc"
    clock = "wall"
    signals = {"leave": NoPayload}
    state_version = VERSION
    migrations = {n: lambda state: state for n in range(1, VERSION)}

    def on_start(self, w: Workflow[None], payload: NoPayload) -> None:
        w.timer("beat", interval_us=%d)

    def on_timer(self, w: Workflow[None], timer: Timer) -> None:
        w.db.heard.insert(workflow_id=w.id, due_at=timer.due_at, version=VERSION)

    def on_leave(self, w: Workflow[None], payload: NoPayload) -> None:
        w.complete()


game = Module("game", includes=[WorkflowEngine([Npc])])


@game.table(public=True)
class Heard:
    id: int = primary_key(auto=True)
    workflow_id: int
    due_at: Timestamp
    version: U32


@game.table(public=True)
class Tally:
    id: int = primary_key()
    calls: int = 0


@game.reducer
def tick(ctx: Context) -> int:
    row = ctx.db.tally.get(1) or ctx.db.tally.insert(id=1)
    return ctx.db.tally.update(row, calls=row.calls + 1).calls


@game.reducer
def version(ctx: Context) -> int:
    return VERSION


game.view("newest", f"SELECT {VERSION} AS version")
"""


def write(directory: Path, version: int | str, module: str = MODULE % BEAT_US) -> None:
    """The files of one version."""
    (directory / "rules.py").write_text(f"VERSION = {version}\n")
    (directory / "module.py").write_text(module)


@pytest.fixture
def game(tmp_path: Path) -> Iterator[tuple[Server, Path]]:
    """A server of version 1 with some workflows that beat, and where its files lie."""
    files = tmp_path / "game"
    files.mkdir()
    write(files, 1)
    with Server(files, tmp_path / "data") as server:
        items = [{"type": "npc"}] * WORKFLOWS
        assert server.call("workflow_start_batch", items).status == 200
        yield server, files


def versions(server: Server) -> list[int]:
    """The versions under which beats were heard."""
    return [row[0] for row in server.rows("SELECT DISTINCT version FROM heard ORDER BY version")]


def reload_path(server: Server) -> str:
    """The route."""
    return f"/v1/database/{server.database}/reload"


def test_reloads_under_load_lose_and_double_nothing(game: tuple[Server, Path]) -> None:
    """REQ-12: every workflow hears each of its beats once, whatever was loaded meanwhile; every call is answered."""
    server, files = game
    done, answers = threading.Event(), list[int]()

    def work() -> None:
        while not done.is_set():
            answers.append(server.call("tick").status)

    callers = [threading.Thread(target=work) for _ in range(2)]
    for caller in callers:
        caller.start()
    try:
        for version in range(2, 8):
            assert eventually(lambda: versions(server)[-1:] == [version - 1])  # noqa: B023
            write(files, version)
            if version % 2:
                answer = server.http("POST", reload_path(server), token=server.owner_token)
                assert answer.status == 200
                assert answer.json["ok"]["module"] == "game" and answer.json["ok"]["pause_us"] > 0
            else:
                server._process.send_signal(signal.SIGHUP)
        assert eventually(lambda: versions(server) == list(range(1, 8)))
    finally:
        done.set()
        for caller in callers:
            caller.join()
    assert server.rows("SELECT calls FROM tally") == [[len(answers)]] and set(answers) == {200}
    assert server.rows("SELECT version FROM newest") == [[7]]
    check_beats(server)
    assert server.stop() == 0
    server.start()
    check_beats(server)
    assert server.rows("SELECT DISTINCT state_version FROM workflow") in ([[7]], [[1]])


def check_beats(server: Server) -> None:
    """Each workflow's due times are a row without a gap."""
    wrong = (
        "SELECT workflow_id, COUNT(*), COUNT(DISTINCT due_at), MAX(due_at) - MIN(due_at) FROM heard GROUP BY 1 "
        f"HAVING COUNT(*) <> COUNT(DISTINCT due_at) OR MAX(due_at) - MIN(due_at) <> {BEAT_US} * (COUNT(*) - 1)"
    )
    assert server.rows(wrong) == []
    assert server.rows("SELECT COUNT(DISTINCT workflow_id) FROM heard") == [[WORKFLOWS]]


def test_a_bad_file_leaves_the_old_version(game: tuple[Server, Path]) -> None:
    """A09: the caller learns why; the old handlers answer, timers fire, the data are as they were."""
    server, files = game
    for text, code, status in (
        ("def broken(:", "module_failed", 500),
        ("from rules import VERSION, missing", "module_failed", 500),
        (MODULE % BEAT_US + "\n@game.table()\nclass More:\n    id: int = primary_key()\n", "restart_needed", 409),
        ((MODULE % BEAT_US).replace("[Npc]", "[]"), "unregistered_types", 409),
        ((MODULE % BEAT_US).replace("Tally", "Tallies"), "schema_conflict", 409),
    ):
        write(files, 2, text)
        answer = server.http("POST", reload_path(server), token=server.owner_token)
        assert (answer.status, answer.code) == (status, code), answer.body
        assert "samples" not in answer.json["error"]
        assert server.call("version").json["ok"] == 1
    before = server.rows("SELECT COUNT(*) FROM heard")[0][0]
    assert eventually(lambda: server.rows("SELECT COUNT(*) FROM heard")[0][0] > before + WORKFLOWS)
    assert versions(server) == [1]
    missing = server.http("POST", reload_path(server)).code
    assert missing == "forbidden"
    write(files, 2)
    assert server.http("POST", reload_path(server), token=server.owner_token).status == 200
    assert server.call("version").json["ok"] == 2


def test_the_command_and_the_signal(game: tuple[Server, Path]) -> None:
    """The command tells what has changed, or why nothing has; after a signal the log does."""
    server, files = game
    target = ["--server", server.url, "--data-dir", str(server.data_dir)]
    write(files, 2, (MODULE % BEAT_US).replace("def version(", "def newest_version("))
    done = reactor("reload", *target, "--text", cwd=files.parent)
    assert done.status == 0, done.err
    assert "reducers added: newest_version" in done.out and "reducers removed: version" in done.out
    write(files, '"x"')
    refused = reactor("reload", *target, cwd=files.parent)
    assert refused.status == 1 and "module.py" in refused.err and "old" not in refused.out
    server._process.send_signal(signal.SIGHUP)
    assert eventually(lambda: sum("was not loaded anew" in line["message"] for line in server.log_lines()) == 2)
    assert server.call("newest_version").json["ok"] == 2
    retired = reactor("type", "retire", "npc", "--reason", "enough", *target, cwd=files.parent)
    assert retired.status == 0 and f'"live":{WORKFLOWS}' in retired.out
    assert server.call("workflow_start", "npc").code == "type_retired"
    verified = reactor("type", "verify", "npc", *target, cwd=files.parent)
    assert verified.status == 1 and f"{WORKFLOWS} workflows of npc live" in verified.err
    checked = reactor("check", str(files), "--data-dir", str(server.data_dir), cwd=files.parent)
    assert checked.status == 1
    write(files, 2)
    checked = reactor("check", str(files), "--data-dir", str(server.data_dir), cwd=files.parent)
    assert checked.status == 1 and "data at rest" in checked.err
