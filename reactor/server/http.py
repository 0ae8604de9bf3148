"""The HTTP routes, on Starlette. ``docs/http.md`` describes them for users.

Every answer that is not a stream is JSON (or CSV where asked for); every error is ``{"error": {"code", "message",
...}}`` with the status that ``reactor.errors.CODES`` gives its code.
"""

from __future__ import annotations

import asyncio
import secrets
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from reactor.access import Access, presented_token
from reactor.assembly import describe
from reactor.errors import Fault, ReactorError, SenderError
from reactor.host import Host
from reactor.logbook import Logbook
from reactor.messages import Call, Caller, Inspect
from reactor.server import metrics
from reactor.session import SqlQuestion

Handler = Callable[[Request], Awaitable[Response]]


class Serving(Protocol):
    """What the routes need to know of the server."""

    host: Host
    access: Access
    logbook: Logbook
    is_ready: bool

    async def reload(self) -> dict[str, Any]:
        """Put the module as its files are now in place of the running one."""


def application(serving: Serving, reports: Iterable[str] = ()) -> Starlette:
    """The ASGI application. ``reports``: routes of the module's reports, below that of the database."""
    routes = Routes(serving)
    database = "/v1/database/{name}"
    return Starlette(
        routes=[
            Route("/v1/ping", routes.guarded(routes.ping)),
            Route("/live", routes.guarded(routes.live)),
            Route("/ready", routes.guarded(routes.ready)),
            Route("/v1/metrics", routes.guarded(routes.metrics)),
            Route("/v1/database", routes.guarded(routes.databases)),
            Route(f"{database}/call/{{reducer}}", routes.guarded(routes.call), methods=["POST"]),
            Route(f"{database}/sql", routes.guarded(routes.sql), methods=["POST"]),
            Route(f"{database}/schema", routes.guarded(routes.schema)),
            Route(f"{database}/logs", routes.guarded(routes.logs)),
            Route(f"{database}/reload", routes.guarded(routes.reload), methods=["POST"]),
            Route(f"{database}/subscribe", routes.guarded(routes.subscribe)),
            *(Route(f"{database}/{path}", routes.guarded(routes.report(path))) for path in reports),
        ],
        exception_handlers={HTTPException: _no_such_route},
    )


def _no_such_route(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: a path or a method that is not there."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 405:
        code, message = "bad_message", f"{request.url.path} does not take {request.method}"
    else:
        code, message = "not_found", f"there is no route {request.url.path}"
    headers = error.headers if isinstance(error, HTTPException) else None
    return _json({"error": {"code": code, "message": message}}, status, headers)


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value, default=str), status, headers, media_type="application/json")


class Routes:
    """One method per route."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    def guarded(self, handler: Handler) -> Handler:
        """The handler with every ``ReactorError`` turned into its answer."""

        async def guarded(request: Request) -> Response:
            try:
                return await handler(request)
            except ReactorError as error:
                return _json({"error": error.to_json()}, error.http_status)
            except HTTPException:
                raise
            except ClientDisconnect:
                return Response(status_code=400)  # nobody is there to read it
            except Exception:
                self._report(request, traceback.format_exc())
                failure = Fault("internal", "the server failed; its log has the details")
                return _json({"error": failure.to_json()}, failure.http_status)

        return guarded

    def _report(self, request: Request, text: str) -> None:
        serving = self._serving
        message = f"{request.method} {request.url.path} failed\n{text}"
        serving.logbook.write(serving.host.clock.now(), "error", "http", message)

    # -- the process -------------------------------------------------------------------------

    async def ping(self, request: Request) -> Response:
        """Somebody is there."""
        return Response()

    async def live(self, request: Request) -> Response:
        """The process runs; says nothing about what it can do."""
        return _json({"status": "live"})

    async def metrics(self, request: Request) -> Response:
        """Counts and the lateness of timers, for a scraper."""
        return Response(metrics.page(self._serving.host), headers={"Content-Type": metrics.CONTENT_TYPE})

    async def ready(self, request: Request) -> Response:
        """503 until calls are accepted, and while nothing can be written."""
        serving = self._serving
        if not serving.is_ready:
            return _json({"status": "starting"}, 503)
        reason = serving.host.engine.halted
        status = {"status": "ready", "read_only": reason, "durability": serving.host.durability}
        return _json(status, 503 if reason else 200)

    # -- the database ------------------------------------------------------------------------

    async def databases(self, request: Request) -> Response:
        """The names of what is served here, so that a client need not be told."""
        return _json({"databases": [self._serving.host.database]})

    def _enter(self, request: Request) -> Caller:
        """Who is asking about this database; raises for a wrong name or token."""
        host = self._serving.host
        name = request.path_params["name"]
        if name != host.database:
            raise SenderError("unknown_database", f"there is no database {name!r}; this is {host.database!r}")
        token = _token_of(request)
        return self._serving.access.caller(token or secrets.token_hex(32))

    async def _body(self, request: Request) -> bytes:
        limit = self._serving.host.limits.message_bytes_max
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise SenderError("message_too_large", f"a body has at most {limit} bytes")
        return bytes(body)

    async def call(self, request: Request) -> Response:
        """Run a reducer; answers when what it did is durable."""
        caller = self._enter(request)
        body = await self._body(request)
        key = request.headers.get("idempotency-key")
        if key is not None and _token_of(request) is None:
            # Each request without a token comes from a new identity, so the key would protect nothing.
            raise SenderError("bad_message", "an Idempotency-Key belongs to a caller; send a token with it")
        return await self._answered(Call(request.path_params["reducer"], body, caller, None, key))

    async def _answered(self, call: Call) -> Response:
        answer, call.token = _awaited()
        self._serving.host.submit(call)
        seq, result = await answer
        return Response(b'{"ok":%b,"seq":%d}' % (result, seq), media_type="application/json")

    def report(self, path: str) -> Handler:
        """The handler of one of them: a GET whose parameters become the arguments of a call."""

        async def handle(request: Request) -> Response:
            caller = self._enter(request)
            known = self._serving.host.engine.program.reports.values()
            report = next((report for report in known if report.route == path), None)
            if report is None or report.read_query is None:
                raise SenderError("not_found", f"there is no route {request.url.path}")
            pairs = [(name, text) for name, text in request.query_params.multi_items() if name != "token"]
            body = orjson.dumps(report.read_query(pairs))
            return await self._answered(Call(report.name, body, caller))

        return handle

    async def sql(self, request: Request) -> Response:
        """SQL for people: the body is the statement, or JSON ``{"sql", "params"}``."""
        caller = self._enter(request)
        body = await self._body(request)
        text, params = _statement(body, request.headers.get("content-type", ""))
        as_csv = "text/csv" in request.headers.get("accept", "")
        answer, token = _awaited()
        question = SqlQuestion(token, text, params, caller, "csv" if as_csv else "json")
        self._serving.host.submit(Inspect(lambda: b"", question))
        _, content = await answer
        return Response(content, media_type="text/csv; charset=utf-8" if as_csv else "application/json")

    async def schema(self, request: Request) -> Response:
        """Tables, reducers and views; private ones are shown to the owner only."""
        caller = self._enter(request)
        described = describe(self._serving.host.engine.program)
        if not caller.is_owner:
            described["tables"] = [t for t in described["tables"] if t["public"]]
            for kind in ("reducers", "reports"):
                described[kind] = [r for r in described[kind] if r["access"] == "public"]
        return _json(described)

    async def subscribe(self, request: Request) -> Response:
        """A WebSocket upgrade never comes here; this is for whoever opens the address with something else."""
        self._enter(request)
        raise SenderError("bad_message", "this address takes WebSocket connections, not plain requests")

    async def reload(self, request: Request) -> Response:
        """Load the module anew and put it in place of the running one; for the owner."""
        if not self._enter(request).is_owner:
            raise SenderError("forbidden", "the module is the owner's to load anew")
        try:
            done = await self._serving.reload()
        except ReactorError as error:
            # Ids of workflows stay here, whoever asks: the log has them.
            for name in ("samples", "truncated"):
                error.details.pop(name, None)
            raise
        return _json({"ok": done, "seq": self._serving.host.durable_seq})

    async def logs(self, request: Request) -> Response:
        """The newest log lines as NDJSON, and new ones as they come with ``follow=true``; for the owner."""
        if not self._enter(request).is_owner:
            raise SenderError("forbidden", "the log is for the owner of the database")
        text = request.query_params.get("num_lines", "100")
        if not text.isascii() or not text.isdigit():
            raise SenderError("bad_arguments", "num_lines is a whole number")
        lines = self._serving.logbook.tail(int(text))
        head = b"".join(orjson.dumps(line) + b"\n" for line in lines)
        if request.query_params.get("follow") != "true":
            return Response(head, media_type="application/x-ndjson")
        return StreamingResponse(self._followed(head), media_type="application/x-ndjson")

    async def _followed(self, head: bytes) -> AsyncIterator[bytes]:
        # Bounded: a reader that cannot keep up loses the oldest lines rather than our memory.
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1000)

        def note(line: dict[str, Any]) -> None:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(line)

        end = self._serving.logbook.follow(note)
        try:
            yield head
            while not self._serving.host.is_stopping:
                try:
                    line = await asyncio.wait_for(queue.get(), 1.0)
                except TimeoutError:
                    continue
                yield orjson.dumps(line) + b"\n"
        finally:
            end()


def _token_of(request: Request) -> str | None:
    return presented_token(request.headers.get("authorization"), request.url.query)


def _awaited() -> tuple[asyncio.Future[tuple[int, bytes]], Callable[[int, bytes | ReactorError], None]]:
    """A future, and the token that fulfils it with ``(seq, body)`` or the error."""
    future: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

    def answer(seq: int, body: bytes | ReactorError) -> None:
        if future.done():
            return  # the client has gone
        if isinstance(body, ReactorError):
            future.set_exception(body)
        else:
            future.set_result((seq, body))

    return future, answer


def _statement(body: bytes, content_type: str) -> tuple[str, Any]:
    """SQL and parameters of a body."""
    try:
        if not content_type.startswith("application/json"):
            return body.decode(), None
        asked = orjson.loads(body)
    except ValueError as error:
        raise SenderError("bad_message", f"the body cannot be read: {error}") from None
    if isinstance(asked, str):
        return asked, None
    if not isinstance(asked, dict) or not isinstance(asked.get("sql"), str) or set(asked) - {"sql", "params"}:
        raise SenderError("bad_message", 'a JSON body is {"sql": "...", "params": [...]}')
    params = asked.get("params")
    if params is not None and not isinstance(params, list | dict):
        raise SenderError("bad_message", "`params` is an array, or an object by name")
    return asked["sql"], params
