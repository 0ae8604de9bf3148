"""The commands against a real server: what they print and how they end."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import orjson
import pytest

from reactor.cli.asking import call_arguments
from reactor.cli.failures import CliError
from tests.reactor.cli.terminal import Terminal
from tests.wire.serving import PLAYGROUND, Server, clean_environment, free_port, reactor

STRANGER = "stranger-" + "s" * 40


@pytest.fixture(autouse=True)
def _at(server: Server, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REACTOR_SERVER", server.url)
    monkeypatch.setenv("REACTOR_DATA_DIR", str(server.data_dir))


# -- sql -------------------------------------------------------------------------------------------


def test_sql_in_every_format(terminal: Terminal) -> None:
    """JSON lines in a pipe; a table or CSV when asked for."""
    query = "SELECT id, name, zone FROM item WHERE id < 3 ORDER BY id"
    piped = terminal.run("sql", query)
    assert (piped.status, piped.err) == (0, "")
    assert piped.out == '{"id":1,"name":"sword","zone":1}\n{"id":2,"name":"shield","zone":2}\n'
    assert terminal.run("sql", query, "--format", "csv").out == "id,name,zone\r\n1,sword,1\r\n2,shield,2\r\n"
    lines = terminal.run("sql", query, "--format", "table").out.splitlines()
    assert lines[:4] == ["id | name   | zone", "---+--------+-----", " 1 | sword  |    1", " 2 | shield |    2"]
    assert lines[4].startswith("(2 rows, ")


def test_sql_parameters(terminal: Terminal) -> None:
    """An array, or an object by name."""
    assert terminal.run("sql", "SELECT ? + ? AS n", "--params", "[1, 2]").out == '{"n":3}\n'
    assert terminal.run("sql", "SELECT :a AS n", "--params", '{"a": "x"}').out == '{"n":"x"}\n'
    assert terminal.run("sql", "SELECT ?", "--params", "nonsense").status == 2


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("SELEC", 2, "bad_sql"),
        ("DELETE FROM item", 4, "sql_forbidden"),
        ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT MAX(i) FROM n", 7, "sql_deadline"),
    ],
)
def test_sql_that_fails(terminal: Terminal, query: str, status: int, code: str) -> None:
    """D80: the code and the sentence on standard error, nothing on standard output."""
    done = terminal.run("sql", query)
    assert (done.status, done.out) == (status, "")
    assert done.err.startswith(f"reactor: {code}: ")


# -- call ------------------------------------------------------------------------------------------


def test_call(terminal: Terminal) -> None:
    """A113: any reducer from the shell; its result is JSON."""
    added = terminal.run("call", "add", '"from the shell"', "5")
    assert added.status == 0 and int(added.out) > 0
    named = terminal.run("call", "add", '{"name": "by name", "zone": 6}')
    assert int(named.out) == int(added.out) + 1
    assert int(terminal.run("call", "add", '["in an array", 7]').out) == int(named.out) + 1
    assert terminal.run("call", "set_zone", added.out.strip(), "8").out == "null\n"
    assert terminal.run("call", "who_am_i").out.strip('"\n')


def test_call_with_a_key(terminal: Terminal) -> None:
    """P5: sent twice, run once."""
    first, second = (terminal.run("call", "add", '"keyed"', "--key", "shell 1").out for _ in range(2))
    assert first == second != ""


@pytest.mark.parametrize(
    ("arguments", "status", "part"),
    [
        (["nothing"], 5, "unknown_reducer"),
        (["add"], 2, "bad_arguments"),
        (["add", "bare words"], 2, "is not JSON"),
        (["ring", "[[1, 2]]"], 4, "forbidden"),
        (["fail_late"], 6, "internal"),
        (["set_zone", "99999", "1"], 5, "not_found"),
        (["refuse_late"], 2, "not like this"),
        (["add", '"x"', "--database", "other"], 5, "unknown_database"),
        (["hide", '"x"', "--token", STRANGER], 4, "forbidden"),
        (["who_am_i", "--token", "short"], 4, "unauthorized"),
        (["who_am_i", "--server", "http://127.0.0.1:1"], 3, "cannot be reached"),
        (["who_am_i", "--server", "ftp://x"], 2, "--server"),
        (["--bogus"], 2, "No such option"),
        ([], 2, "Missing argument"),
    ],
)
def test_calls_that_fail(terminal: Terminal, arguments: list[str], status: int, part: str) -> None:
    """D80: one exit code for each kind of failure."""
    done = terminal.run("call", *arguments)
    assert (done.status, done.out) == (status, "")
    assert part in done.err


def test_call_arguments() -> None:
    """One array or object stands for all; anything else is one argument each."""
    assert call_arguments([]) == []
    assert call_arguments(["[1, 2]"]) == [1, 2]
    assert call_arguments(['{"a": 1}']) == {"a": 1}
    assert call_arguments(["7"]) == [7]
    assert call_arguments(["[1]", "2"]) == [[1], 2]
    with pytest.raises(CliError, match="quotes of its own"):
        call_arguments(["text"])


# -- describe, logs, version -----------------------------------------------------------------------


def test_describe(terminal: Terminal) -> None:
    """JSON in a pipe, text when asked for; what is not for a stranger is not shown to one."""
    described = orjson.loads(terminal.run("describe").out)
    assert {"item", "secret"} <= {table["name"] for table in described["tables"]}
    text = terminal.run("describe", "--text").out
    assert "table bell (private, runs ring)" in text
    assert re.search(r"^add +\| name: str, zone: int = …, text: str = … +\| public +\| Add an item", text, re.M)
    assert "secret" not in terminal.run("describe", "--text", "--token", STRANGER).out


def test_logs(terminal: Terminal, server: Server) -> None:
    """A07: the last lines, as JSON in a pipe or as text."""
    server.call("fail_late")
    line = orjson.loads(terminal.run("logs", "-n", "1").out)
    assert (line["level"], line["logger"]) == ("error", "fail_late")
    assert "error   fail_late: raised ZeroDivisionError" in terminal.run("logs", "--text", "-n", "1").out
    assert terminal.run("logs", "--num-lines", "0").out == ""
    assert terminal.run("logs", "--token", STRANGER).status == 4


def test_logs_follow(server: Server, tmp_path: Path) -> None:
    """A07: a new line is printed as it comes; Ctrl-C ends it with 0, the server's end too."""
    command = [sys.executable, "-m", "reactor", "logs", "--follow", "-n", "0", "--server", server.url]
    command += ["--data-dir", str(server.data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=clean_environment(), cwd=tmp_path) as following:
        assert following.stdout is not None
        reader = threading.Thread(target=lambda: lines.append(following.stdout.readline()))  # type: ignore[union-attr]
        lines: list[bytes] = []
        reader.start()
        deadline = time.monotonic() + 10
        while reader.is_alive() and time.monotonic() < deadline:
            server.call("fail_late")
            reader.join(0.2)
        assert orjson.loads(lines[0])["logger"] == "fail_late"
        following.send_signal(signal.SIGINT)
        assert following.wait(10) == 0


def test_version(terminal: Terminal) -> None:
    """Program, protocol, data format."""
    assert "v1.json.reactor" in terminal.run("version").out


# -- subscribe -------------------------------------------------------------------------------------


def test_subscribe(terminal: Terminal, server: Server) -> None:
    """Rows there are, a marker, then changes with column names, commit by commit."""
    first = server.call("add", "watched", 31).json["ok"]

    def change() -> None:
        server.call("grow", first, 2)
        second = server.call("add", "second", 31).json["ok"]
        server.call("remove", second)
        server.call("set_zone", first, 32)

    later = threading.Timer(1.0, change)
    later.start()
    done = terminal.run("subscribe", "SELECT * FROM item WHERE zone = 31", "-n", "4", "-t", "20")
    later.join()
    assert done.status == 0
    events = [orjson.loads(line) for line in done.out.splitlines()]
    assert [event["event"] for event in events] == ["row", "live", "update", "insert", "delete", "delete"]
    row = {"id": first, "name": "watched", "zone": 31, "text": ""}
    assert events[0] == {"event": "row", "table": "item", "row": row}
    assert (events[2]["old"], events[2]["row"]) == (row, {**row, "text": "xx"})
    seqs = [event["seq"] for event in events[1:]]
    assert seqs == sorted(seqs)


def test_subscribe_goes_on_after_a_restart(tmp_path: Path) -> None:
    """A35: the server is killed; the command says so, comes back by itself, and shows what it has missed."""
    with Server(PLAYGROUND, tmp_path / "data", listen_port=free_port()) as own:
        item = own.call("add", "kept", 1).json["ok"]
        command = [sys.executable, "-m", "reactor", "subscribe", "SELECT * FROM item", "-n", "1", "-t", "30"]
        with subprocess.Popen(
            [*command, "--server", own.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment()
        ) as watching:
            assert watching.stdout is not None and watching.stderr is not None
            assert [orjson.loads(watching.stdout.readline())["event"] for _ in range(2)] == ["row", "live"]
            watching.send_signal(signal.SIGSTOP)  # so that the change is made while it does not look
            own.call("set_zone", item, 2)
            own.kill()
            watching.send_signal(signal.SIGCONT)
            own.start()
            event = orjson.loads(watching.stdout.readline())
            assert watching.wait(20) == 0
        assert (event["event"], event["row"]["zone"], event["old"]["zone"]) == ("update", 2, 1)


def test_subscribe_ends_in_time(terminal: Terminal) -> None:
    """Exit code 7 when fewer updates came than asked for, 0 when only a time was asked for."""
    query = "SELECT * FROM item WHERE zone = 12345"
    assert terminal.run("subscribe", query, "-n", "1", "-t", "0.2").status == 7
    done = terminal.run("subscribe", query, "-t", "0.2")
    assert (done.status, done.out.count("\n")) == (0, 1)
    assert terminal.run("subscribe", query, "-n", "0").status == 0


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["SELECT * FROM nothing"], 2),
        (["SELECT * FROM item ORDER BY id"], 2),
        (["SELECT * FROM secret", "--token", STRANGER], 4),
        (["SELECT * FROM item", "--database", "other"], 5),
        (["SELECT * FROM item", "--database", "x", "--server", "http://127.0.0.1:1"], 3),
    ],
)
def test_subscribe_refused(terminal: Terminal, arguments: list[str], status: int) -> None:
    """D80, also over the WebSocket."""
    assert terminal.run("subscribe", *arguments).status == status


# -- the command itself ----------------------------------------------------------------------------


def test_help_loads_little(tmp_path: Path) -> None:
    """A command should start quickly: nothing of the server, the client or rich is imported for it."""
    text = (
        "import sys; sys.argv = ['reactor', 'sql', '--help']\n"
        "from reactor.cli import _run\n"
        "assert _run() == 0\n"
        "heavy = {'rich', 'starlette', 'uvicorn', 'apscheduler', 'websockets', 'sqlglot', 'client', 'asyncio'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", text], env=clean_environment(), cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "Usage: reactor sql" in done.stdout
    assert done.stderr.strip() == "[]"


def test_a_reader_that_leaves_early_is_no_error(server: Server, tmp_path: Path) -> None:
    """`reactor sql … | head -1`: quiet, whatever is left to print."""
    query = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 90000) SELECT i FROM n"
    command = [sys.executable, "-m", "reactor", "sql", query, "--server", server.url]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment(), cwd=tmp_path
    ) as asking:
        assert asking.stdout is not None and asking.stderr is not None
        assert asking.stdout.readline() == b'{"i":1}\n'
        asking.stdout.close()
        assert asking.wait(20) == 0
        assert asking.stderr.read() == b""


def test_an_answer_of_somebody_else(terminal: Terminal) -> None:
    """Another program on that port: a sentence, not a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:

        def answer() -> None:
            connection, _ = stranger.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

        thread = threading.Thread(target=answer)
        thread.start()
        done = terminal.run("sql", "SELECT 1", "--server", f"http://127.0.0.1:{stranger.getsockname()[1]}")
        thread.join()
    assert done.status == 1 and "not JSON" in done.err


@pytest.mark.parametrize(
    ("arguments", "status", "part"),
    [
        (["--listen", "nowhere"], 2, "--listen"),
        (["--listen", "127.0.0.1:99999"], 2, "--listen"),
        (["--in-memory", "--data-dir", "d"], 2, "exclude each other"),
        (["--durability", "maybe"], 2, "durability"),
        (["--data-dir", ":memory:"], 1, "storage_unsafe"),
    ],
)
def test_run_with_bad_options(tmp_path: Path, arguments: list[str], status: int, part: str) -> None:
    """B68 and usage: nothing is started, nothing is written."""
    done = reactor("run", str(PLAYGROUND), "--listen", "127.0.0.1:0", *arguments, cwd=tmp_path)
    assert (done.status, done.out) == (status, "")
    assert part in done.err
    assert list(tmp_path.iterdir()) == []


def test_run_says_where_it_is(tmp_path: Path) -> None:
    """A01: one line with address, database and data directory, by default ./data/NAME."""
    command = [sys.executable, "-m", "reactor", "run", str(PLAYGROUND), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment(), cwd=tmp_path, text=True
    ) as running:
        assert running.stdout is not None and running.stderr is not None
        line = running.stdout.readline()
        running.terminate()
        assert running.wait(20) == 0
        log = running.stderr.read()
    assert line.startswith("playground is ready at http://127.0.0.1:")
    assert f"(data in {tmp_path / 'data' / 'playground'}, durability full)" in line
    assert "info    reactor: playground is ready at seq 1" in log and "stopped" in log
