"""HTTP to a server, with nothing but the standard library: a command should start quickly.

No proxy of the environment is used: the server is usually next door.
"""

from __future__ import annotations

import http.client
import ipaddress
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import orjson

from reactor.cli.exits import FAILED, NETWORK, TIMEOUT, USAGE, exit_of_status
from reactor.cli.failures import CliError

_SCHEMES = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}


class Answer(NamedTuple):
    """A whole answer that was not an error."""

    content_type: str
    body: bytes

    def json(self) -> Any:
        """The body as a value; ``CliError`` if it is none, so nobody of ours sent it."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            raise CliError(FAILED, "the server's answer is not JSON; is this an Entity Reactor?") from None


class Door:
    """One server. ``timeout_s`` bounds every wait for it; None waits for ever."""

    def __init__(self, url: str, token: str | None = None, timeout_s: float | None = 60.0) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            self._address = (parts.hostname or "", parts.port)
        except ValueError:
            self._address = ("", None)
        if parts.scheme not in _SCHEMES or not self._address[0]:
            raise CliError(USAGE, f"--server is a URL such as http://127.0.0.1:3000, not {url!r}")
        self._connect = _SCHEMES[parts.scheme]
        self._prefix = parts.path.rstrip("/")
        self._timeout_s = timeout_s
        self.url = f"{parts.scheme}://{parts.netloc}{self._prefix}"
        self.token = token

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine."""
        host = self._address[0]
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        """Send a request and return its whole answer; ``CliError`` for errors of either side."""
        connection, response = self._open(method, path, body, headers)
        try:
            return Answer(response.getheader("content-type") or "", response.read())
        except TimeoutError:
            raise self._too_slow() from None
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()

    def lines(self, path: str) -> Iterator[bytes]:
        """The lines of a streamed answer as they come, until the server ends it."""
        connection, response = self._open("GET", path, None, None)
        try:
            if connection.sock is not None:
                connection.sock.settimeout(None)
            while line := response.readline():
                yield line
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()

    def _open(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str] | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = self._connect(self._address[0], self._address[1], timeout=self._timeout_s)
        sent = {"Connection": "close", **(headers or {})}
        if self.token is not None:
            sent["Authorization"] = f"Bearer {self.token}"
        try:
            connection.request(method, self._prefix + path, body, sent)
            response = connection.getresponse()
            if response.status >= 400:
                raise _refused(response.status, response.read())
        except TimeoutError:
            connection.close()
            raise self._too_slow() from None
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unreachable(error) from None
        except ValueError as error:
            connection.close()
            raise CliError(USAGE, f"the request cannot be sent: {error}") from None
        return connection, response

    def _too_slow(self) -> CliError:
        return CliError(TIMEOUT, f"{self.url} did not answer within {self._timeout_s:g} s")

    def _unreachable(self, error: Exception) -> CliError:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return CliError(NETWORK, f"{self.url} cannot be reached: {reason}")


def database_path(database: str, *parts: str) -> str:
    """``/v1/database/{name}/…`` with every part quoted."""
    return "/".join(["/v1/database", *(quote(part, safe="") for part in (database, *parts))])


def _refused(status: int, body: bytes) -> CliError:
    try:
        return CliError.of_json(dict(orjson.loads(body)["error"]))
    except (ValueError, KeyError, TypeError):
        return CliError(exit_of_status(status), f"the server answered with status {status}")
