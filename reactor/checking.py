"""What `reactor check` asks: would this version of a module go well with these data? Nothing is changed to find out.

The data are loaded as a start would load them, the module's checks are run as a start would run them, and whoever knows
more (``Module.examine``) tells what it finds.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from reactor.assembly import load_engine
from reactor.errors import ReactorError
from reactor.module import Program
from reactor.schema import TableSchema, additions
from reactor.storage import Opened


class Verdict(enum.StrEnum):
    """How a start of this version would go. Each is worse than the one before."""

    SAFE = "safe"
    """Everything goes on as it is."""
    NEEDS_MIGRATION = "needs_migration"
    """Everything goes on; stored data are brought to this version as they are met."""
    UNSAFE = "unsafe"
    """It does not start, or some of what is stored would not go on."""


_ORDER = list(Verdict)


class Finding(msgspec.Struct, frozen=True):
    """One thing that was found: about what (``type buff``, ``table monster``), what it means, and figures."""

    verdict: Verdict
    subject: str
    message: str
    details: dict[str, Any] = {}


@dataclass
class Report:
    """All findings about one database. ``seq`` is the commit the data stand at."""

    module: str
    seq: int
    findings: list[Finding] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        """The worst of the findings."""
        return max((finding.verdict for finding in self.findings), key=_ORDER.index, default=Verdict.SAFE)

    def to_json(self) -> dict[str, Any]:
        """The report for programs; it only grows from version to version."""
        return {
            "verdict": str(self.verdict),
            "module": self.module,
            "seq": self.seq,
            "findings": [msgspec.to_builtins(finding) for finding in self.findings],
        }


def check_schemas(stored: Mapping[str, TableSchema], program: Program) -> list[Finding]:
    """What the declared tables mean to the stored ones."""
    try:
        added = additions(stored, program.tables)
    except ReactorError as error:
        problems = error.details.get("problems", [])
        return [Finding(Verdict.UNSAFE, "tables", error.message, {"code": error.code, "problems": problems})]
    if not added:
        return []
    parts = [f"table {name} is new" for name in added.tables]
    parts += [f"column {table}.{column} is new" for table, column in added.columns]
    parts += [f"the indexes of {name} change" for name in added.indexes_changed]
    parts += [f"the settings of {name} change" for name in added.settings_changed]
    text = f"a start takes these additions over: {'; '.join(parts)}; a reload would ask for a restart"
    return [Finding(Verdict.SAFE, "tables", text, {"changes": parts})]


def check_data(program: Program, opened: Opened, trial: int | None) -> Iterable[Finding]:
    """What a start over ``opened`` would meet. ``trial`` bounds how many states of a kind are tried; None tries all."""
    try:
        engine = load_engine(program, opened)
    except ReactorError as error:
        return [Finding(Verdict.UNSAFE, "tables", error.message, {"code": error.code, **error.details})]
    found: list[Finding] = []
    for check in program.functions("checks"):
        try:
            check(engine)
        except ReactorError as error:
            found.append(Finding(Verdict.UNSAFE, "start", error.message, {"code": error.code, **error.details}))
        except Exception as error:
            text = f"a check of the module failed: {type(error).__name__}: {error}"
            found.append(Finding(Verdict.UNSAFE, "start", text, {"code": "module_failed"}))
    for examine in program.functions("examinations"):
        found.extend(examine(engine, trial))
    return found
