"""``reactor check``: would this version of a module go well with the data of that directory?"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reactor.cli.exits import NEEDS_MIGRATION, OK, UNSAFE, USAGE
from reactor.cli.failures import CliError
from reactor.cli.output import is_terminal, print_bytes, print_json, table
from reactor.cli.target import data_directory
from reactor.errors import ReactorError

if TYPE_CHECKING:
    from reactor.checking import Report
    from reactor.module import Module

_EXITS = {"safe": OK, "needs_migration": NEEDS_MIGRATION, "unsafe": UNSAFE}
_FILES = ("log.db", "log.db-wal", "projection.db", "projection.db-wal")


def check_command(
    module_path: Annotated[Path, typer.Argument(help="Directory with a module.py, or a .py file.", metavar="MODULE")],
    data_dir: Annotated[
        Path | None, typer.Option(help="The data; else $REACTOR_DATA_DIR, else ./data/NAME.", metavar="DIR")
    ] = None,
    trial: Annotated[
        int | None, typer.Option(help="Try at most so many stored states of each type; all unless given.", min=0)
    ] = None,
    json: Annotated[bool | None, typer.Option("--json/--text", help="Default: text on a terminal, else JSON.")] = None,
) -> int:
    """Compare a database at rest with a version of its module: safe (exit code 0), needs_migration (9), unsafe (10).

    It works on a copy in a temporary directory and changes nothing; no server may be using the data meanwhile.
    """
    from reactor.loading import load_module

    try:
        module = load_module(module_path)
        report = check(module, data_directory(data_dir, os.environ, module.name), trial)
    except ReactorError as error:
        raise _ended(error) from error
    if not is_terminal() if json is None else json:
        print_json(report.to_json())
    else:
        print_bytes(_shown(report).encode())
    return _EXITS[report.verdict]


def _ended(error: ReactorError) -> CliError:
    failure = CliError.of(error)
    if error.code == "data_in_use":
        failure.message += " `reactor check` looks at data at rest: stop the server, or check a copy of a backup."
    return failure


def check(module: Module, directory: Path, trial: int | None = None) -> Report:
    """The report on the data in ``directory``; they are locked for as long as it takes to copy them.

    Raises ``ReactorError``: ``bad_declaration``, ``data_in_use``, ``data_version``, ``data_damaged``.
    """
    from reactor.assembly import compose
    from reactor.checking import Report, Verdict, check_data, check_schemas
    from reactor.storage import open_store
    from reactor.storage.connection import OS_DISK
    from reactor.storage.opening import Paths, open_log

    program = compose(module)
    with _copied(directory) as copy:
        log = open_log(Paths(copy), "full", OS_DISK, anew=True)
        stored = {schema.name: schema for schema in log.schema.tables.values()}
        report = Report(program.name, log.last_seq)
        log.connection.close()
        report.findings += check_schemas(stored, program)
        if report.verdict is Verdict.UNSAFE:
            return report
        tables = list(program.tables.values())
        opened = open_store(copy, tables, now_us=0, new_history_id="0" * 32)
        try:
            report.findings += check_data(program, opened, trial)
        finally:
            opened.release()
    return report


@contextmanager
def _copied(directory: Path) -> Iterator[Path]:
    """A copy of the data, taken while nobody else has them; it goes at the end."""
    from reactor.clock import SystemClock
    from reactor.datadir import hold_directory

    if not (directory / "log.db").is_file():
        raise CliError(USAGE, f"{directory} holds no data; name a data directory with --data-dir")
    with tempfile.TemporaryDirectory(prefix="reactor-check-") as made:
        copy = Path(made)
        held = hold_directory(directory, now_us=SystemClock().now(), listen="reactor check")
        try:
            for name in _FILES:
                if (directory / name).exists():
                    shutil.copyfile(directory / name, copy / name)
        finally:
            held.release()
        yield copy


def _shown(report: Report) -> str:
    rows: list[list[Any]] = [[f.subject, str(f.verdict), f.message] for f in report.findings]
    lines = [table(["what", "verdict", ""], rows)] if rows else []
    for finding in report.findings:
        for sample in finding.details.get("samples", ()):
            if isinstance(sample, dict):
                lines.append(f"{finding.subject}, workflow {sample['id']}: {sample['message']}\n")
    return "".join([*lines, f"{report.module} at commit {report.seq}: {report.verdict}\n"])
