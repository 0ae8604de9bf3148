"""Every HTTP route of a real server, with what it answers when it is asked wrongly."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.routing import Route

from reactor.errors import CODES
from reactor.server.http import application
from tests.wire.serving import PLAYGROUND, ROOT, Server, eventually

BASE = "/v1/database/playground"
STRANGER = "stranger-" + "s" * 40
OTHER = "other-" + "o" * 40


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(PLAYGROUND, tmp_path_factory.mktemp("http") / "data") as running:
        yield running


def post(server: Server, path: str, body: bytes, **options: object) -> tuple[int, str]:
    answer = server.http("POST", path, body, **options)  # type: ignore[arg-type]
    return answer.status, answer.code


# -- the process -----------------------------------------------------------------------------------


def test_probes(server: Server) -> None:
    """`/v1/ping`, `/live` and `/ready` answer without any token."""
    assert server.http("GET", "/v1/ping").status == 200
    assert server.http("GET", "/live").json == {"status": "live"}
    ready = server.http("GET", "/ready")
    assert (ready.status, ready.json) == (200, {"status": "ready", "read_only": None, "durability": "full"})


def test_the_databases_are_listed(server: Server) -> None:
    """A client need not know the name of the only database."""
    assert server.http("GET", "/v1/database").json == {"databases": ["playground"]}


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nope", 404), ("PUT", "/live", 405), ("GET", f"{BASE}/subscribe", 400)]
)
def test_a_wrong_route_is_refused_as_json(server: Server, method: str, path: str, status: int) -> None:
    """B81: errors have one form, also those about the path itself."""
    answer = server.http(method, path)
    assert answer.status == status
    assert answer.code in CODES


def test_a92_the_lateness_of_timers_is_measured(server: Server) -> None:
    """A92, A90, B82: a histogram from due to start, and counts, with no label but the histogram's own."""
    answer = server.http("GET", "/v1/metrics")
    assert answer.status == 200
    text = answer.body.decode()
    assert "# TYPE timer_lateness_seconds histogram" in text
    assert "reactor_timers_stale_total" in text
    assert {line.partition("{")[2][:4] for line in text.splitlines() if "{" in line} <= {'le="'}


def test_every_route_is_documented() -> None:
    """`docs/http.md` lists what the application has."""
    listed = re.findall(r"^\| `(?:GET|POST) (\S+)`", (ROOT / "docs" / "http.md").read_text(), re.M)
    serving: Any = None
    routes = [route.path for route in application(serving).routes if isinstance(route, Route)]
    assert sorted(listed) == sorted(routes)


# -- call ------------------------------------------------------------------------------------------


def test_a_call_answers_with_result_and_seq(server: Server) -> None:
    """Arguments by position, by name, and left out."""
    first = server.call("add", "by position", 3)
    assert first.status == 200
    named = server.http("POST", f"{BASE}/call/add", b'{"name":"by name","zone":3}').json
    assert named["seq"] > first.json["seq"]
    assert named["ok"] == first.json["ok"] + 1
    assert server.http("POST", f"{BASE}/call/who_am_i").json["ok"]
    rows = server.rows("SELECT name, zone FROM item WHERE name LIKE 'by %' ORDER BY id")
    assert rows == [["by position", 3], ["by name", 3]]


@pytest.mark.parametrize(
    ("reducer", "body", "expected"),
    [
        ("add", b"[1]", (400, "bad_arguments")),
        ("add", b"[]", (400, "bad_arguments")),
        ("add", b'["a",1,"b",4]', (400, "bad_arguments")),
        ("add", b'{"nme":"a"}', (400, "bad_arguments")),
        ("add", b'["a"', (400, "bad_arguments")),
        ("add", b'"a"', (400, "bad_arguments")),
        ("add", b"\xff\xfe", (400, "bad_arguments")),
        ("nothing", b"[]", (404, "unknown_reducer")),
        ("hide", b'["x"]', (403, "forbidden")),
        ("set_zone", b"[999999,1]", (404, "not_found")),
        ("refuse_late", b"[]", (400, "sender_error")),
        ("fail_late", b"[]", (500, "internal")),
        ("junk", b"[]", (500, "bad_result")),
        ("add", b'["' + b"a" * (1 << 20) + b'"]', (413, "message_too_large")),
    ],
)
def test_a_bad_call_has_its_code_and_changes_nothing(
    server: Server, reducer: str, body: bytes, expected: tuple[int, str]
) -> None:
    """A47, A48, B81: the sender's mistakes and our faults differ, and every failed call is undone."""
    before = server.rows("SELECT COUNT(*) FROM item")
    assert post(server, f"{BASE}/call/{reducer}", body) == expected
    assert server.rows("SELECT COUNT(*) FROM item") == before


def test_a_fault_is_masked_for_callers_and_logged_for_the_owner(server: Server) -> None:
    """A48, B81: details of a bug are in the log only."""
    answer = server.call("fail_late")
    assert b"ZeroDivision" not in answer.body and b"the secret of" not in answer.body
    logged = server.http("GET", f"{BASE}/logs", token=server.owner_token).body
    assert b"ZeroDivisionError: the secret of the failure" in logged


def test_a_broken_constraint_names_table_column_and_value(server: Server) -> None:
    """A unique column that is taken: 409 with what and where."""
    server.call("add", "only once")
    answer = server.call("add", "only once")
    assert (answer.status, answer.code) == (409, "unique_violation")
    error = answer.json["error"]
    assert (error["table"], error["column"]) == ("item", "name")
    assert "only once" in error["value"]


def test_no_client_can_fire_a_timer(server: Server) -> None:
    """A88: the fire reducer is refused, also for the owner and with a copied timer row."""
    server.call("set_bell", 3_600_000_000)
    row = server.rows("SELECT scheduled_id, scheduled_at FROM bell LIMIT 1")[0]
    for token in (STRANGER, server.owner_token):
        answer = server.call("ring", row, token=token)
        assert (answer.status, answer.code) == (403, "forbidden")
    assert server.rows("SELECT COUNT(*) FROM ledger") == [[0]]


def test_the_owner_may_call_owner_reducers(server: Server) -> None:
    """The owner's token from the data directory opens what is closed to others."""
    assert server.call("hide", "a secret", token=server.owner_token).status == 200
    assert server.rows("SELECT COUNT(*) FROM secret WHERE text = 'a secret'") == [[1]]


def test_a_token_is_an_identity(server: Server) -> None:
    """The same token is the same caller on every request; another is another; none is somebody new each time."""
    ids = [server.call("who_am_i", token=token).json["ok"] for token in (STRANGER, STRANGER, OTHER, None, None)]
    assert ids[0] == ids[1]
    assert len(set(ids[1:])) == 4


@pytest.mark.parametrize(
    "authorization", ["Bearer short", "Bearer ", "Basic dXNlcjpwYXNz", "Bearer " + "x" * 300, "Bearer a b" + "c" * 40]
)
def test_what_is_no_token_is_refused(server: Server, authorization: str) -> None:
    """401, never a silent downgrade to somebody else."""
    answer = server.http("POST", f"{BASE}/call/who_am_i", b"[]", headers={"Authorization": authorization})
    assert (answer.status, answer.code) == (401, "unauthorized")


@pytest.mark.parametrize("path", ["call/add", "sql", "schema", "logs"])
def test_a_wrong_database_is_not_found(server: Server, path: str) -> None:
    """A20: the answer names what is asked for and what is here."""
    method = "POST" if path in ("call/add", "sql") else "GET"
    answer = server.http(method, f"/v1/database/other/{path}", b"[]" if method == "POST" else None)
    assert (answer.status, answer.code) == (404, "unknown_database")
    assert "playground" in answer.json["error"]["message"]


# -- idempotency keys ------------------------------------------------------------------------------


def test_a_key_runs_a_call_once(server: Server) -> None:
    """P5: the same caller and key get the first answer again, also an error; other callers have their own keys."""
    first = server.call("add", "keyed", token=STRANGER, key="k1")
    again = server.call("add", "keyed", token=STRANGER, key="k1")
    assert (first.status, again.status, again.json["ok"]) == (200, 200, first.json["ok"])
    assert server.call("add", "keyed", token=OTHER, key="k1").code == "unique_violation"
    assert server.call("add", "different", token=STRANGER, key="k1").code == "key_reused"
    refused = [server.call("set_zone", 999_999, 1, token=STRANGER, key="k2").body for _ in range(2)]
    assert refused[0] == refused[1]


def test_a_key_without_a_token_is_refused(server: Server) -> None:
    """P5: each request without a token is somebody new, so the key would protect nothing."""
    answer = server.call("add", "keyed by nobody", key="k")
    assert (answer.status, answer.code) == (400, "bad_message")


def test_a_key_has_a_bounded_length(server: Server) -> None:
    """A key longer than its column is refused before anything runs."""
    answer = server.call("add", "long key", token=STRANGER, key="k" * 129)
    assert (answer.status, answer.code) == (400, "bad_message")


# -- sql -------------------------------------------------------------------------------------------


def test_sql_sees_what_was_committed_before(server: Server) -> None:
    """A query sees every call that was answered before it was sent."""
    for number in range(20):
        server.call("add", f"seen {number}", 77)
        assert server.rows("SELECT COUNT(*) FROM item WHERE zone = 77") == [[number + 1]]


def test_sql_forms(server: Server) -> None:
    """Text or JSON with parameters in; JSON or CSV out."""
    token = server.owner_token
    as_text = server.http("POST", f"{BASE}/sql", b"SELECT 1 AS one, 'a,b' AS two", token=token).json
    assert (as_text["columns"], as_text["rows"]) == (["one", "two"], [[1, "a,b"]])
    assert as_text["elapsed_us"] >= 0
    headers = {"Content-Type": "application/json"}
    for params in ([5], {"n": 5}):
        body = orjson.dumps({"sql": "SELECT :n + 1" if isinstance(params, dict) else "SELECT ? + 1", "params": params})
        answer = server.http("POST", f"{BASE}/sql", body, token=token, headers=headers)
        assert answer.json["rows"] == [[6]]
    as_csv = server.http("POST", f"{BASE}/sql", b"SELECT 1 AS a, 'x,y' AS b", headers={"Accept": "text/csv"})
    assert as_csv.headers["content-type"].startswith("text/csv")
    assert as_csv.body == b'a,b\r\n1,"x,y"\r\n'


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"SELEC 1", "text/plain", (400, "bad_sql")),
        (b"", "text/plain", (400, "bad_sql")),
        (b"SELECT * FROM nothing", "text/plain", (400, "bad_sql")),
        (b"DELETE FROM item", "text/plain", (403, "sql_forbidden")),
        (b"PRAGMA journal_mode=DELETE", "text/plain", (403, "sql_forbidden")),
        (b"SELECT * FROM secret", "text/plain", (403, "sql_forbidden")),
        (b"\xff\xff", "text/plain", (400, "bad_message")),
        (b'{"sql": 1}', "application/json", (400, "bad_message")),
        (b'{"sql": "SELECT 1", "extra": 1}', "application/json", (400, "bad_message")),
        (b'{"sql": "SELECT ?", "params": 5}', "application/json", (400, "bad_message")),
        (b"{", "application/json", (400, "bad_message")),
    ],
)
def test_bad_sql_has_its_code(server: Server, body: bytes, content_type: str, expected: tuple[int, str]) -> None:
    """A111: a stranger reads public tables only; everything else wrong has a stable code."""
    headers = {"Content-Type": content_type}
    assert post(server, f"{BASE}/sql", body, token=STRANGER, headers=headers) == expected


# -- schema and logs -------------------------------------------------------------------------------


def test_the_schema_shows_each_what_is_theirs(server: Server) -> None:
    """A111: private tables and closed reducers are listed for the owner only."""
    mine = server.http("GET", f"{BASE}/schema", token=server.owner_token).json
    theirs = server.http("GET", f"{BASE}/schema", token=STRANGER).json
    assert {"secret", "item"} <= {t["name"] for t in mine["tables"]}
    assert "secret" not in {t["name"] for t in theirs["tables"]}
    assert {"hide", "ring"} <= {r["name"] for r in mine["reducers"]}
    assert not {"hide", "ring"} & {r["name"] for r in theirs["reducers"]}
    item = next(t for t in theirs["tables"] if t["name"] == "item")
    assert [c["name"] for c in item["columns"]] == ["id", "name", "zone", "text"]


def test_the_log_is_for_the_owner(server: Server) -> None:
    """The newest lines as NDJSON; 403 for others, 400 for a count that is none."""
    assert server.http("GET", f"{BASE}/logs", token=STRANGER).code == "forbidden"
    server.call("fail_late")
    server.call("fail_late")
    answer = server.http("GET", f"{BASE}/logs?num_lines=2", token=server.owner_token)
    lines = [orjson.loads(line) for line in answer.body.splitlines()]
    assert [sorted(line) for line in lines] == [["at", "level", "logger", "message"]] * 2
    assert server.http("GET", f"{BASE}/logs?num_lines=-1", token=server.owner_token).code == "bad_arguments"


def test_following_the_log(server: Server) -> None:
    """A07: a new line is there within 200 ms."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    headers = {"Authorization": f"Bearer {server.owner_token}"}
    connection.request("GET", f"{BASE}/logs?num_lines=0&follow=true", headers=headers)
    answer = connection.getresponse()
    try:
        delays = []
        for _ in range(5):
            server.call("fail_late")
            sent = time.monotonic()
            assert orjson.loads(answer.readline())["logger"] == "fail_late"
            delays.append(time.monotonic() - sent)
        assert sorted(delays)[2] < 0.2
    finally:
        connection.close()


# -- clients that misbehave ------------------------------------------------------------------------


def test_a_client_that_goes_away_in_the_middle_harms_nobody(server: Server) -> None:
    """P7: half a request, then silence; garbage instead of a request; the others are served."""
    for piece in (
        b"POST /v1/database/playground/call/add HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[",
        b"\x16\x03\x01 this is not HTTP at all\r\n\r\n",
        b"GET / HTTP/1.1\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port)) as rude:
            rude.sendall(piece)
        assert server.http("GET", "/v1/ping").status == 200
    lines = server.log.read_bytes().splitlines()
    assert all(line.startswith(b'{"at"') for line in lines), lines
    assert b"ClientDisconnect" not in b"".join(lines)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"x" * 200_000,
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 30_000,
        b"GET / HTTP/1.1\r\nno colon here\r\n\r\n",
        b"\x00\x01\x02\x03\r\n\r\n",
    ],
    ids=["url", "header", "headers", "no header", "no request"],
)
def test_a_head_that_is_none_or_does_not_end_is_refused(server: Server, head: bytes) -> None:
    """Bounded: a client cannot fill the memory with headers; the refusal has the form of all errors."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as rude:
        with contextlib.suppress(OSError):
            rude.sendall(head)
        answer = b""
        with contextlib.suppress(OSError):
            while piece := rude.recv(4096):
                answer += piece
    assert answer == b"" or (answer.startswith(b"HTTP/1.1 400 ") and b'{"error":{"code":"bad_message"' in answer)
    assert server.http("GET", "/v1/ping").status == 200


def test_two_requests_on_one_connection(server: Server) -> None:
    """Keep-alive: the second is served like the first, and so is one that was sent along with it."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for _ in range(3):
        connection.request("GET", "/v1/database")
        assert connection.getresponse().read() == b'{"databases":["playground"]}'
    connection.close()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as pipelining:
        pipelining.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        answer = b""
        while answer.count(b'{"status":"live"}') < 2:
            answer += pipelining.recv(4096)


def test_a_reducer_past_its_budget_is_undone(server: Server) -> None:
    """A reducer that never comes back is interrupted; the call is undone and the next one runs."""
    started = time.monotonic()
    answer = server.call("loop")
    assert (answer.status, answer.code) == (500, "budget_exceeded")
    assert 1.5 < time.monotonic() - started < 6
    assert server.rows("SELECT COUNT(*) FROM item WHERE name = 'looped'") == [[0]]
    assert server.call("add", "after the loop").status == 200


def test_memory_mode_has_the_same_routes(tmp_path: Path) -> None:
    """`--in-memory` serves the same and leaves nothing behind."""
    with Server(PLAYGROUND, tmp_path / "data", arguments=["--in-memory"]) as server:
        assert server.call("add", "fleeting").status == 200
        answer = server.http("POST", f"{BASE}/sql", b"SELECT name FROM item")
        assert answer.json["rows"] == [["fleeting"]]
        assert server.http("GET", "/ready").json["durability"] == "memory"
        assert server.stop() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["data.log"]


def test_without_recovery_the_data_can_be_looked_at(tmp_path: Path) -> None:
    """B60: `--no-recover` serves reads, fires nothing, writes nothing."""
    with Server(PLAYGROUND, tmp_path / "data") as server:
        server.call("add", "kept")
        server.call("set_bell", 50_000)
        server.call("set_bell", 700_000_000)
        assert eventually(lambda: server.rows("SELECT COUNT(*) FROM ledger") == [[1]])
        server.call("set_bell", 100)
        server.kill()
        before = server.data_dir
        looked = Server(PLAYGROUND, before, arguments=["--no-recover"])
        with looked:
            assert looked.rows("SELECT name FROM item") == [["kept"]]
            fired = looked.rows("SELECT COUNT(*) FROM ledger")
            assert looked.call("add", "refused").code == "read_only"
            assert looked.http("GET", "/ready").status == 503
            time.sleep(0.3)
            assert looked.rows("SELECT COUNT(*) FROM ledger") == fired
            assert looked.stop() == 0
