"""``reactor backfill-visibility``: fill, drop or verify the index over workflows while no server runs.

Its exit codes are its own: 0, 1, 2 and 3, see ``docs/cli.md``.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from reactor.cli.failures import CliError
from reactor.errors import ReactorError

if TYPE_CHECKING:
    from reactor.storage.backfill import Verified, Walked
    from workflows.visibility.maintenance import Now

DONE = 0
FAILED = 1
INCAPABLE = 2
CONFLICTS = 3

BATCH_SIZE = 500
_AGAIN = "Keep every other writer away, run it with --drop, and then once more from the start."


class BackfillCommand(TyperCommand):
    """A command whose mistakes of use end with 1: for it, 2 means something else."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As usual, but for the exit code."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if getattr(error, "exit_code", DONE) != DONE:
                error.exit_code = FAILED  # type: ignore[attr-defined]
            raise


def backfill_command(
    storage: Annotated[Path, typer.Option(help="The data directory. No server may be using it.", metavar="DATA_DIR")],
    batch_size: Annotated[
        int, typer.Option(help="How often --verbose prints: every so many workflows. Nothing else depends on it.")
    ] = BATCH_SIZE,
    verbose: Annotated[bool, typer.Option("--verbose", help="Tell how far it has come.")] = False,
    drop: Annotated[bool, typer.Option("--drop", help="Take the index away; workflows stay as they are.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare the index with the workflows; mend nothing.")
    ] = False,
    deep: Annotated[bool, typer.Option("--deep", help="With --verify: look at every index row, too.")] = False,
) -> int:
    """Fill the index that workflow lists use, for data written before there was one."""
    if batch_size < 1 or (drop and verify) or (deep and not verify):
        raise CliError(
            FAILED, "--batch-size is 1 or more; --drop and --verify exclude each other; --deep needs --verify"
        )
    from workflows.visibility import maintenance

    now = maintenance.Now(time.time_ns() // 1_000, secrets.token_hex(16))
    try:
        if drop:
            print(f"Dropped the index: {maintenance.drop(storage, now)} rows. Lists scan until it is filled again.")
            return DONE
        if verify:
            return _told(maintenance.verify(storage, now, deep=deep), deep)
        return _fill(storage, now, batch_size, verbose)
    except maintenance.Incapable as error:
        raise CliError(INCAPABLE, f"this store cannot be filled safely: {error}") from None
    except ReactorError as error:
        raise CliError(FAILED, error.message, code=error.code) from error


def _fill(storage: Path, now: Now, batch_size: int, verbose: bool) -> int:
    from workflows.visibility import maintenance

    walked = maintenance.backfill(
        storage, now, each=_progress(batch_size) if verbose else lambda processed: None, resuming=_tell_resumed
    )
    if walked.mark is None:
        return _not_done(walked)
    if walked.restarts:
        print("The stored position claimed workflows that were not indexed, so all were gone through again.")
    print(f"Backfill complete. Processed {walked.processed} workflows. Watermark advanced.")
    return DONE


def _tell_resumed(after: int, processed: int) -> None:
    print(f"Resuming after workflow {after}: {processed} were processed before.", flush=True)


def _progress(batch_size: int) -> Callable[[int], None]:
    began = time.monotonic()
    here = 0

    def each(processed: int) -> None:
        nonlocal here
        here += 1
        if here % batch_size == 0:
            rate = here / max(time.monotonic() - began, 1e-6)
            print(f"Processed {processed} workflows, {rate:,.0f} per second", flush=True)

    return each


def _not_done(walked: Walked) -> int:
    if walked.refused:
        reason = (
            f"The run before met {walked.conflicts} conflicts, and one may lie before the place where it ended; going "
            "on from there would leave it out."
        )
    else:
        ids = ", ".join(map(str, walked.samples)) or "unknown"
        reason = (
            f"Processed {walked.processed} workflows; {walked.conflicts} conflicts (first: {ids}). Somebody else wrote "
            "them meanwhile, or their manifests are damaged."
        )
    print(f"{reason} Watermark not advanced. {_AGAIN}", file=sys.stderr)
    return CONFLICTS


def _told(found: Verified, deep: bool) -> int:
    mark = "none" if found.mark is None else f"version {found.mark.version}, {found.mark.processed} processed"
    print(f"Workflows: {found.rows}. Index rows: {found.entries}. Watermark: {mark}.")
    for reason, count in sorted(found.gaps.items()):
        print(f"{reason}: {count}")
    for workflow_id, reason in found.samples:
        print(f"  workflow {workflow_id}: {reason}")
    if found.overstates:
        print("The watermark overstates: lists trust an index that has gaps. Run it with --drop, then fill it again.")
        return CONFLICTS
    if found.gaps:
        print("The index has gaps and no watermark that hides them: lists scan. Fill it to make them fast.")
        return CONFLICTS
    print("No gaps" + (", every index row is right." if deep else "."))
    return DONE
