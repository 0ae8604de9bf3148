"""The server as a process: start, stop, and what it does when it is killed or its files are damaged."""

from __future__ import annotations

import http.client
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from websockets.exceptions import ConnectionClosed

from tests.wire.serving import PLAYGROUND, Finished, Server, Wire, clean_environment, eventually, reactor


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    """A server for one test, which may kill it."""
    with Server(PLAYGROUND, tmp_path / "data") as running:
        yield running


def goodbye(wire: Wire) -> tuple[str | None, int | None]:
    """What the server said last, and its close code."""
    said = None
    try:
        while True:
            message = wire.receive()
            if "error" in message and "id" not in message:
                said = message["error"]["code"]
    except ConnectionClosed as closed:
        return said, None if closed.rcvd is None else closed.rcvd.code


# -- start -----------------------------------------------------------------------------------------


def test_files_appear_only_under_the_data_directory(tmp_path: Path) -> None:
    """A01: port 0 is chosen and told; nothing is written anywhere else, also not beside the module."""
    home = tmp_path / "home"
    home.mkdir()
    module = tmp_path / "game"
    module.mkdir()
    (module / "module.py").write_text(PLAYGROUND.read_text())
    work = tmp_path / "work"
    work.mkdir()
    with Server(module, work / "d") as server:
        assert server.port > 0
        server.call("add", "x")
        server.rows("SELECT * FROM item")
        assert server.stop() == 0
    assert sorted(path.name for path in work.iterdir()) == ["d", "d.log"]
    assert {"lock", "log.db", "projection.db", "owner.token"} <= {path.name for path in (work / "d").iterdir()}
    assert {path.name for path in module.iterdir()} <= {"module.py", "__pycache__"}
    assert list(home.iterdir()) == []


def test_the_log_says_when_it_is_ready(own: Server) -> None:
    """A02: a line with the database, the seq and the rows, before any call is taken."""
    lines = [line["message"] for line in own.log_lines()]
    assert any(line.startswith("playground is ready at seq ") for line in lines)


def test_the_database_survives_a_restart(own: Server) -> None:
    """Rows, ids and identities are the same after a stop in good order and a new start."""
    first = own.call("add", "before").json["ok"]
    token = own.owner_token
    assert own.stop() == 0
    own.start()
    assert own.owner_token == token
    assert own.rows("SELECT id, name FROM item") == [[first, "before"]]
    assert own.call("add", "after").json["ok"] > first


# -- stop ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_in_good_order(own: Server, number: int) -> None:
    """Clients hear `stopping` and 1001, the exit code is 0, and every call that was answered is kept."""
    acknowledged: list[int] = []
    errors: list[str] = []
    closed: list[int | None] = []

    def load(place: int) -> None:
        with own.socket() as wire:
            try:
                for number in range(1_000_000):
                    wire.send({"id": number, "call": "add", "args": [f"{place} {number}"]})
                    answer = wire.receive()
                    if "error" in answer:
                        errors.append(answer["error"]["code"])
                    else:
                        acknowledged.append(answer["ok"])
            except ConnectionClosed as end:
                closed.append(end.rcvd.code if end.rcvd else None)

    threads = [threading.Thread(target=load, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    assert eventually(lambda: len(acknowledged) > 100)
    assert own.stop(number) == 0
    for thread in threads:
        thread.join(10)
    assert closed == [1001] * 3
    # One that was just sending learns of the close first, and its library does not hand out what came before.
    assert set(errors) <= {"stopping"}
    own.start()
    kept = {row[0] for row in own.rows("SELECT id FROM item")}
    assert set(acknowledged) <= kept
    assert not [line for line in own.log_lines() if line["level"] in ("error", "warning")]


def test_a_follower_of_the_log_does_not_hold_up_a_stop(own: Server) -> None:
    """A stream that would go on for ever ends with the server."""
    connection = http.client.HTTPConnection("127.0.0.1", own.port, timeout=10)
    headers = {"Authorization": f"Bearer {own.owner_token}"}
    connection.request("GET", "/v1/database/playground/logs?follow=true", headers=headers)
    answer = connection.getresponse()
    started = time.monotonic()
    assert own.stop() == 0
    assert time.monotonic() - started < 4
    answer.read()
    connection.close()


# -- two on one directory --------------------------------------------------------------------------


def run_again(server: Server, *more: str) -> Finished:
    return reactor(
        "run",
        str(server.module),
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        str(server.data_dir),
        *more,
        cwd=server.data_dir.parent,
    )


def test_a_second_process_is_refused_with_the_holder_named(own: Server) -> None:
    """B66: process and address of the first; its service goes on."""
    second = run_again(own)
    assert second.status == 1
    assert "data_in_use" in second.err and str(own.pid) in second.err and "127.0.0.1:0" in second.err
    assert own.call("add", "still here").status == 200


def test_an_address_that_is_taken_is_refused(own: Server, tmp_path: Path) -> None:
    """Another database on the same port: a sentence with what to do, and no data directory."""
    place = tmp_path / "other"
    done = reactor("run", str(PLAYGROUND), "--listen", f"127.0.0.1:{own.port}", "--data-dir", str(place), cwd=tmp_path)
    assert done.status != 0
    assert f"127.0.0.1:{own.port}" in done.err and "--listen" in done.err
    assert not place.exists()


# -- what does not start ---------------------------------------------------------------------------

_HEAD = "from reactor import Module, primary_key, Context\n"
_BAD_MODULES = {
    "import nothing_of_that_name_here\n": ("module_failed", "No module named 'nothing_of_that_name_here'", 1),
    "def broken(:\n    pass\n": ("module_failed", "SyntaxError", 1),
    "x = 1\n": ("module_failed", "declares no module", 1),
    _HEAD + "a = Module('a')\nb = Module('b')\n": ("module_failed", "several modules", 1),
    _HEAD + "m = Module('m')\n@m.table()\nclass T:\n    x: int\n": ("bad_declaration", "needs a primary key", 1),
    _HEAD + "m = Module('m')\n@m.init\ndef init(ctx: Context) -> None:\n    1 / 0\n": ("module_failed", "init", 1),
}


@pytest.mark.parametrize("text", _BAD_MODULES)
def test_a_module_that_cannot_run_is_refused(tmp_path: Path, text: str) -> None:
    """Bad input: a code, a sentence with the reason and the place, and an exit code; nothing is left running."""
    code, part, status = _BAD_MODULES[text]
    (tmp_path / "module.py").write_text(text)
    done = reactor("run", str(tmp_path), "--listen", "127.0.0.1:0", cwd=tmp_path)
    assert (done.status, done.out) == (status, "")
    assert f"reactor: {code}: " in done.err
    assert part in done.err


def test_an_init_that_fails_leaves_a_database_that_can_still_be_made(tmp_path: Path) -> None:
    """A09: nothing was stored, so the next start with a mended init is the first one."""
    module = tmp_path / "module.py"
    good = PLAYGROUND.read_text()
    module.write_text(good + "\n@playground.init\ndef start(ctx: Context) -> None:\n    raise ValueError('no')\n")
    server = Server(tmp_path, tmp_path / "data")
    with pytest.raises(RuntimeError, match="module_failed"):
        server.start()
    module.write_text(good + "\n@playground.init\ndef start(ctx: Context) -> None:\n    add(ctx, 'made by init')\n")
    with server:
        assert server.rows("SELECT name FROM item") == [["made by init"]]


def test_a_schema_that_does_not_fit_is_refused(own: Server, tmp_path: Path) -> None:
    """A change that is not an addition stops the start with what to do, and exit code 8; the data stay."""
    own.call("add", "kept")
    own.stop()
    changed = tmp_path / "changed.py"
    changed.write_text(PLAYGROUND.read_text().replace("zone: int = 0\n    text: str", "zone: str\n    text: str"))
    done = reactor("run", str(changed), "--listen", "127.0.0.1:0", "--data-dir", str(own.data_dir), cwd=tmp_path)
    assert done.status == 8
    assert "schema_conflict" in done.err and "item.zone" in done.err
    own.start()
    assert own.rows("SELECT name FROM item") == [["kept"]]


def test_another_format_is_refused(own: Server) -> None:
    """B69: a data directory of another version, with exit code 8."""
    own.stop()
    with sqlite3.connect(own.data_dir / "log.db") as log:
        log.execute("UPDATE meta SET value = value + 1 WHERE name = 'format'")
    log.close()
    done = run_again(own)
    assert (done.status, "data_version" in done.err) == (8, True)


def test_a_damaged_log_record_is_refused(own: Server) -> None:
    """P6: a record whose checksum does not fit is never used and never skipped when the tables need it."""
    for number in range(5):
        own.call("add", f"record {number}")
    own.stop()
    for name in ("projection.db", "projection.db-wal", "projection.db-shm"):
        (own.data_dir / name).unlink(missing_ok=True)
    with sqlite3.connect(own.data_dir / "log.db") as log:
        log.execute(
            "UPDATE record SET payload = CAST(substr(payload, 1, 20) || x'ff' || substr(payload, 22) AS BLOB)"
            " WHERE first_seq = (SELECT MAX(first_seq) - 2 FROM record)"
        )
    log.close()
    done = run_again(own)
    assert (done.status, "data_damaged" in done.err) == (1, True), done.err


def test_a_lost_projection_is_built_anew(own: Server) -> None:
    """The log is the truth: without the SQL tables everything is still there."""
    own.call("add", "from the log")
    own.stop()
    (own.data_dir / "projection.db").unlink()
    own.start()
    assert own.rows("SELECT name FROM item") == [["from the log"]]


# -- helpers that die ------------------------------------------------------------------------------


def test_a_killed_writer_stops_the_reactor_cleanly(own: Server) -> None:
    """P6: clients hear it, the exit code is 6, and the next start has every call that was answered."""
    with own.socket() as wire:
        acknowledged = [wire.ok(call="add", args=[f"before {n}"]) for n in range(20)]
        os.kill(own.child("reactor.storage.writer"), signal.SIGKILL)
        assert goodbye(wire) == ("stopping", 1001)
    assert own.wait() == 6
    assert "writer" in own.log.read_text()
    own.start()
    assert {row[0] for row in own.rows("SELECT id FROM item")} >= set(acknowledged)


SLOW_SQL = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"


def test_a_killed_sql_reader_harms_only_its_query(own: Server) -> None:
    """P7: that query fails with a code, calls go on, and the next query is answered by a new reader."""
    with own.socket(own.owner_token) as asking, own.socket() as calling:
        asking.ok(sql="SELECT 1")
        reader = own.child("reactor.sql.reader")
        asking.send({"id": 99, "sql": SLOW_SQL})
        time.sleep(0.2)
        os.kill(reader, signal.SIGKILL)
        assert calling.ok(call="add", args=["meanwhile"])
        assert asking.receive()["error"]["code"] == "sql_unavailable"
        assert asking.ok(sql="SELECT name FROM item")["rows"] == [["meanwhile"]]
    assert any("SQL reader restarted" in line["message"] for line in own.log_lines())
    assert own.stop() == 0


def test_whoever_reads_the_log_may_go(tmp_path: Path) -> None:
    """P7: with standard error and output closed at the other end, calls that are logged go on as before."""
    command = [sys.executable, "-m", "reactor", "run", str(PLAYGROUND), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment(), cwd=tmp_path
    ) as running:
        assert running.stdout is not None and running.stderr is not None
        port = int(running.stdout.readline().split(b"127.0.0.1:")[1].split()[0])
        running.stdout.close()
        running.stderr.close()
        for _ in range(3):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("POST", "/v1/database/playground/call/fail_late", b"[]")
            assert orjson.loads(connection.getresponse().read())["error"]["code"] == "internal"
            connection.close()
        running.terminate()
        assert running.wait(20) == 0


# -- kill -9 ---------------------------------------------------------------------------------------


def test_a_client_resumes_after_kill_9(own: Server) -> None:
    """P1, A35: everything answered is there, and a returning client is told exactly what it has missed."""
    with own.socket() as wire:
        kept = wire.ok(call="add", args=["kept", 5])
        gone = wire.ok(call="add", args=["gone", 5])
        opened = wire.ask(subscribe="SELECT * FROM item WHERE zone = 5")
        resume = {"history_id": wire.hello["history_id"], "seq": opened["seq"]}
        wire.ok(call="remove", args=[gone])
        new = wire.ok(call="add", args=["new", 5])
        own.kill()
    own.start()
    with own.socket() as wire:
        again = wire.ask(subscribe="SELECT * FROM item WHERE zone = 5", resume=resume)["ok"]["queries"][0]
        assert again["resumed"] is True
        assert (again["upsert"], again["delete"]) == ([[new, "new", 5, ""]], [gone])
        whole = wire.ok(subscribe="SELECT * FROM item WHERE zone = 5")["queries"][0]
        assert [row[0] for row in whole["rows"]] == [kept, new]
        unknown = {"history_id": "0" * 32, "seq": opened["seq"]}
        fresh = wire.ok(subscribe="SELECT * FROM item WHERE zone = 5 AND id > 0", resume=unknown)["queries"][0]
        assert (fresh["resumed"], len(fresh["rows"])) == (False, 2)


def test_hooks_run_for_those_whom_a_crash_cut_off(own: Server) -> None:
    """A112: presence rows of a killed server's clients go at the next start."""
    with own.socket():
        assert len(own.rows("SELECT * FROM presence")) == 1
        own.kill()
    own.start()
    assert own.rows("SELECT * FROM presence") == []


def test_a_timer_survives_kill_9(own: Server) -> None:
    """P3: due while nobody was there, it fires once after the next start, with its own due time."""
    assert own.rows("SELECT 1") == [[1]]  # so that the next query need not start the reader first
    own.call("set_bell", 1_000_000)
    due = own.rows("SELECT scheduled_at FROM bell")[0][0]
    own.kill_group()
    time.sleep(max(0, due / 1e6 - time.time()) + 0.2)
    own.start()
    assert eventually(lambda: own.rows("SELECT due_at FROM ledger") == [[due]])
    assert own.rows("SELECT COUNT(*) FROM bell") == [[0]]
    own.stop()
    own.start()
    assert own.rows("SELECT due_at FROM ledger") == [[due]]


def test_optimised_python_behaves_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A10: with `assert` statements stripped the server still refuses, undoes and answers alike."""
    monkeypatch.setenv("PYTHONOPTIMIZE", "1")
    assert clean_environment()["PYTHONOPTIMIZE"] == "1"
    with Server(PLAYGROUND, tmp_path / "data") as server, server.socket() as wire:
        assert wire.ok(call="add", args=["optimised"])
        assert wire.code(call="fail_late") == "internal"
        assert wire.code(call="add", args=[1]) == "bad_arguments"
        assert server.rows("SELECT name FROM item") == [["optimised"]]
        assert server.stop() == 0
