"""Which server, database and token a command means."""

from __future__ import annotations

from pathlib import Path

import pytest

from reactor.cli.doors import Door, database_path
from reactor.cli.failures import CliError
from reactor.cli.target import Wanted, data_directory, resolve

LOCAL = "http://127.0.0.1:1"
REMOTE = "http://game.example:3000"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory in which the database `arena` has its data, and another directory."""
    for directory, token in (("data/arena", "default"), ("elsewhere", "elsewhere"), ("named", "named")):
        (tmp_path / directory).mkdir(parents=True)
        (tmp_path / directory / "owner.token").write_text(f"{token}-token\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "environment", "token"),
    [
        ({}, {}, "default-token"),
        ({}, {"REACTOR_DATA_DIR": "named"}, "named-token"),
        ({}, {"REACTOR_DATA_DIR": "nowhere"}, None),
        ({}, {"REACTOR_TOKEN": "t", "REACTOR_DATA_DIR": "named"}, "t"),
        ({"data_dir": Path("elsewhere")}, {"REACTOR_TOKEN": "t", "REACTOR_DATA_DIR": "named"}, "elsewhere-token"),
        ({"token": "flag"}, {"REACTOR_TOKEN": "t"}, "flag"),
        ({"token": "flag", "data_dir": Path("elsewhere")}, {}, "flag"),
    ],
)
def test_flag_before_environment_before_default(
    data: Path, flags: dict[str, object], environment: dict[str, str], token: str | None
) -> None:
    """D81: for the token, with the owner's of a local server as the last resort."""
    wanted = Wanted(server=LOCAL, database="arena", **flags)  # type: ignore[arg-type]
    assert resolve(wanted, environment).door.token == token


def test_server_and_database_too() -> None:
    """D81: the same order; a server is an address with or without its scheme."""
    environment = {"REACTOR_SERVER": "http://10.0.0.1:1", "REACTOR_DATABASE": "second"}
    target = resolve(Wanted(), environment)
    assert (target.door.url, target.database) == ("http://10.0.0.1:1", "second")
    target = resolve(Wanted(server="10.0.0.2:7", database="first"), environment)
    assert (target.door.url, target.database) == ("http://10.0.0.2:7", "first")
    assert resolve(Wanted(database="x"), {}).door.url == "http://127.0.0.1:3000"


def test_the_owners_secret_stays_on_this_machine(data: Path) -> None:
    """A directory of the right name must not hand its secret to somebody else's server."""
    assert resolve(Wanted(server=REMOTE, database="arena"), {}).door.token is None
    assert resolve(Wanted(server=REMOTE, database="arena"), {"REACTOR_DATA_DIR": "named"}).door.token is None
    with pytest.raises(CliError, match="not this machine") as refused:
        resolve(Wanted(server=REMOTE, database="arena", data_dir=Path("named")), {})
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("url", "is_local"),
    [
        ("http://127.0.0.1:3000", True),
        ("http://localhost:3000", True),
        ("http://[::1]:3000", True),
        ("http://127.0.0.1.example.com", False),
        ("http://192.168.0.1", False),
        ("https://localhost.example.com", False),
    ],
)
def test_what_is_local(url: str, is_local: bool) -> None:
    """Only loopback addresses, and no name that merely looks like one."""
    assert Door(url).is_local is is_local


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:99999", "http://x:port"])
def test_what_is_no_address(url: str) -> None:
    """A usage error with an example."""
    with pytest.raises(CliError, match="--server") as refused:
        Door(url)
    assert refused.value.exit_code == 2


def test_a_named_data_directory_must_have_a_token(tmp_path: Path) -> None:
    """What was asked for by flag and is not there is an error, not silence."""
    with pytest.raises(CliError, match="no owner's token"):
        resolve(Wanted(server=LOCAL, database="x", data_dir=tmp_path), {})


def test_where_data_lie() -> None:
    """Flag, environment, ./data/NAME."""
    environment = {"REACTOR_DATA_DIR": "b"}
    assert data_directory(Path("a"), environment, "x") == Path("a")
    assert data_directory(None, environment, "x") == Path("b")
    assert data_directory(None, {}, "x") == Path("data/x")


def test_paths_are_quoted() -> None:
    """A name cannot break out of its place in the path."""
    assert database_path("a/b", "call", "c?d") == "/v1/database/a%2Fb/call/c%3Fd"
