"""A start as the rules see it: what was asked, made definite and checked."""

from __future__ import annotations

from typing import Any, NamedTuple

from reactor.context import Context
from reactor.errors import SenderError
from workflows.definition import Definition
from workflows.life import is_live
from workflows.start import names
from workflows.start.options import (
    ID_MAX,
    KEY_CHARS_MAX,
    REQUEST_ID_CHARS_MAX,
    OnConflict,
    StartOptions,
)


class Ask(NamedTuple):
    """One start: ``payload`` is decoded."""

    kind: Definition
    entity_id: int | None
    correlation_id: str | None
    payload: Any
    parent_id: int | None
    options: StartOptions


class Times(NamedTuple):
    """The instants of a start, on the wall; ``lasts_us`` is how long its run may take from when it begins."""

    starts_at: int | None
    run_ends_at: int | None
    lasts_us: int | None
    chain_ends_at: int | None


def _wrong(parameter: str, reason: str) -> SenderError:
    return SenderError("bad_arguments", f"option {parameter}: {reason}", parameter=parameter)


def check(ask: Ask) -> None:
    """``SenderError`` ``bad_arguments`` for options that cannot be meant."""
    options = ask.options
    if options.id is not None and not 0 < options.id <= ID_MAX:
        raise _wrong("id", f"it is a whole number from 1 to {ID_MAX}")
    if options.name is not None:
        names.check_name(options.name)
    for parameter, text, most in (
        ("request_id", options.request_id, REQUEST_ID_CHARS_MAX),
        ("exclusive", options.exclusive, KEY_CHARS_MAX),
        ("concurrency_key", options.concurrency_key, KEY_CHARS_MAX),
    ):
        if text is not None and not 0 < len(text) <= most:
            raise _wrong(parameter, f"it has 1 to {most} characters")
    if options.on_conflict is not None and ask.kind.exclusive is None and options.exclusive is None:
        raise _wrong("on_conflict", f"type {ask.kind.name} holds nothing exclusively; give exclusive as well")
    if policy_of(ask) is OnConflict.REFRESH and not ask.kind.can_refresh:
        raise _wrong("on_conflict", f"type {ask.kind.name} has no method on_conflict(self, w, payload) to refresh by")
    if (options.concurrency_key, options.when_full) != (None, None) and ask.kind.concurrency is None:
        raise _wrong("concurrency_key", f"type {ask.kind.name} declares no limit: concurrency = Concurrency(max=…)")


def policy_of(ask: Ask) -> OnConflict:
    """What the start does when another holds what it wants."""
    if ask.options.on_conflict is not None:
        return OnConflict(ask.options.on_conflict)
    return OnConflict.REJECT if ask.kind.exclusive is None else OnConflict(ask.kind.exclusive.on_conflict)


def times_of(ctx: Context, options: StartOptions) -> Times:
    """The instants that the options name; spans count from now."""
    now = ctx.now
    starts_at = _instant(now, options.start_at, options.start_after_us, "start_at", "start_after_us")
    run_ends_at, lasts_us = options.deadline_at, options.deadline_us
    if run_ends_at is not None and lasts_us is not None:
        raise _wrong("deadline_at", "give deadline_at or deadline_us, not both")
    chain = _instant(
        now, options.chain_deadline_at, options.chain_deadline_us, "chain_deadline_at", "chain_deadline_us"
    )
    begins = now if starts_at is None else max(starts_at, now)
    for parameter, at in (("deadline_at", run_ends_at), ("chain_deadline_at", chain)):
        if at is not None and at <= begins:
            raise _wrong(parameter, "it is not after the instant at which the workflow begins")
    if lasts_us is not None and lasts_us <= 0:
        raise _wrong("deadline_us", "it is a span of at least 1 µs")
    if starts_at is not None and starts_at <= now:
        starts_at = None
    return Times(starts_at, run_ends_at, lasts_us, chain)


def _instant(now: int, at: int | None, after_us: int | None, at_name: str, after_name: str) -> int | None:
    if after_us is None:
        return at
    if at is not None:
        raise _wrong(at_name, f"give {at_name} or {after_name}, not both")
    if after_us < 0:
        raise _wrong(after_name, "it is a span of at least 0 µs")
    return now + after_us


def check_client(ctx: Context, kind: Definition | None, options: StartOptions) -> None:
    """``SenderError`` ``forbidden`` for what only game code and the owner may ask of a start.

    A client that chose ids could use them up; one that chose keys and policies could end what others have started, or
    pass a limit.
    """
    if ctx.is_owner or ctx.sender is None:
        return
    asked = [name for name in ("id", "exclusive", "concurrency_key") if getattr(options, name) is not None]
    declared = None if kind is None or kind.exclusive is None else kind.exclusive.on_conflict
    if options.on_conflict in (OnConflict.REPLACE, OnConflict.REFRESH) and options.on_conflict != declared:
        asked.append("on_conflict")
    if options.reuse == "start_new" and options.name is not None:
        row = names.with_name(ctx, options.name)
        if row is not None and row.owner != ctx.sender and not is_live(row.status):
            asked.append("reuse")
    if asked:
        raise SenderError(
            "forbidden",
            f"this identity may not give the option {asked[0]}; the owner and the module's own code may",
            verb="start",
            option=asked[0],
        )
