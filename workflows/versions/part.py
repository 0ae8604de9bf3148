"""The part of the engine that knows what the types were, and what becomes of their workflows when they change."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from reactor.checking import Finding
from reactor.context import Context
from reactor.module import Module
from workflows.dispatch import Dispatcher
from workflows.parts import Part
from workflows.scripts.checking import check_scripts
from workflows.versions import retiring
from workflows.versions.batches import count_versions, migrate_some
from workflows.versions.book import note_definitions
from workflows.versions.examining import TypeCheck, examine
from workflows.versions.tables import DEFINITION_SCHEMA

_PAGE = 1_000

_LIVE = "w.status IN ('Pending', 'Running', 'Suspended', 'Paused', 'Faulted')"
VIEWS = {
    "workflow_versions": f"""
SELECT w.workflow_type, w.state_version, d.state_version AS registered_version, COUNT(*) AS live,
    w.state_version <> d.state_version AS needs_migration
FROM workflow AS w LEFT JOIN workflow_definition AS d ON d.workflow_type = w.workflow_type
WHERE {_LIVE}
GROUP BY w.workflow_type, w.state_version, d.state_version
""",
    "blocked_workflows": f"""
SELECT w.id, w.workflow_type, w.status, w.state_version, d.state_version AS registered_version,
    CASE WHEN d.workflow_type IS NULL OR NOT d.is_registered THEN 'its type is not registered'
        WHEN w.state_version < d.reads_from OR w.state_version > d.reads_to THEN 'its state is of a version that the '
            || 'code cannot read: ' || w.state_version || ' is not within ' || d.reads_from || ' to ' || d.reads_to
        ELSE COALESCE(e.message, w.error_message) END AS reason
FROM workflow AS w LEFT JOIN workflow_definition AS d ON d.workflow_type = w.workflow_type
    LEFT JOIN recovery_error AS e ON e.workflow_id = w.id
WHERE {_LIVE} AND (
    d.workflow_type IS NULL OR NOT d.is_registered OR w.state_version < d.reads_from OR w.state_version > d.reads_to
    OR e.workflow_id IS NOT NULL OR w.status = 'Faulted')
""",
}


class Versions(Part):
    """Definitions, migrations in batches, retired types, and the workflows' part of `reactor check`.

    ``skip_types`` are those of the engine. ``checks`` are asked about each type that is checked.
    """

    schemas = (DEFINITION_SCHEMA,)

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__(dispatcher)
        self.skip_types: Collection[str] = ()
        self.checks: list[TypeCheck] = [check_scripts]
        self.changed: set[str] = set()
        """The types that were found different when the engine was started or loaded anew."""
        self._module: Module | None = None
        self._settled: dict[str, int] = {}
        self._swaps = False

    def declare(self, module: Module) -> None:
        """See ``Part``."""
        self._module = module
        module.reducer(access="owner")(self.workflow_migrate)
        module.reducer(access="owner")(self.workflow_type_retire)
        module.reducer(access="owner")(self.workflow_type_restore)
        module.reducer(access="owner")(self.workflow_type_status)
        for name, select in VIEWS.items():
            module.view(name, select)
        module.before_start(self._inherit)
        module.on_start(self.note)
        module.on_reload(self._settle)
        module.examine(self._examine)

    # -- verbs of the owner --------------------------------------------------------------------

    def workflow_migrate(
        self, ctx: Context, type: str, limit: int = 1_000, after: int = 0, dry_run: bool = False
    ) -> dict[str, Any]:
        """Bring stored states of a type to its version now, at most ``limit`` a call, of ids above ``after``.

        Returns {"migrated", "failed", "samples", "last_id", "more"}; ``dry_run`` counts and tries, and changes nothing.
        """
        kind = self.dispatcher.registry.require(type)
        if dry_run:
            return count_versions(ctx, kind, limit)
        return migrate_some(ctx, kind, limit, after, self.dispatcher.audit)

    def workflow_type_retire(self, ctx: Context, type: str, reason: str | None = None) -> dict[str, Any]:
        """Let no more workflows of a type be started; those that live go on. Returns its status."""
        with self.dispatcher.commands.command(ctx, "type_retire", workflow_type=type, reason=reason):
            return retiring.retire(ctx, self.dispatcher.registry.get(type), type, reason)

    def workflow_type_restore(self, ctx: Context, type: str) -> dict[str, Any]:
        """Let workflows of a retired type be started again. Returns its status."""
        with self.dispatcher.commands.command(ctx, "type_restore", workflow_type=type):
            return retiring.restore(ctx, type)

    def workflow_type_status(self, ctx: Context, type: str | None = None) -> list[dict[str, Any]]:
        """Of one type or all: how many live, which began first, whether it is retired and may be dropped."""
        names = sorted(ctx.db.workflow_definition.rows) if type is None else [type]
        return [retiring.status_of(ctx, name) for name in names]

    # -- starts and reloads --------------------------------------------------------------------

    def note(self, ctx: Context) -> None:
        """Write down what the types are now."""
        self.changed = note_definitions(ctx, self.dispatcher.registry)

    def _inherit(self, engine: Any) -> None:
        """Take over the downgrades of the code that a reload is about to replace: older code cannot have them."""
        self._settled, self._swaps = {}, True
        for module in engine.program.modules:
            if module is self._module or self._module is None or module.name != self._module.name:
                continue
            for part in getattr(module, "parts", ()):
                if isinstance(part, Versions):
                    self._inherit_of(part)

    def _inherit_of(self, before: Versions) -> None:
        for kind in self.dispatcher.registry:
            other = before.dispatcher.registry.get(kind.name)
            if other is not None:
                kind.migrations.inherit(other.migrations)
            if kind.migrations.inherited:
                self._settled[kind.name] = 0

    def _settle(self, ctx: Context) -> bool:
        """After a step back: bring what the replaced code has stored down to this version, while it is known how.

        Only this process knows; what is not brought down before it ends is parked when it is met.
        """
        if self._swaps:
            # The call that belongs to the swap holds everybody up, so the work is for the next one.
            self._swaps = False
            return bool(self._settled)
        for name, after in list(self._settled.items()):
            kind = self.dispatcher.registry.require(name)
            told = migrate_some(ctx, kind, _PAGE, after, self.dispatcher.audit)
            if told["migrated"] or told["failed"]:
                ctx.log(f"{name}: {told['migrated']} states taken back to version {kind.state_version}")
            for sample in told["samples"]:
                ctx.log(f"{name} {sample['id']} cannot be taken back: {sample['message']}", "error")
            if told["more"]:
                self._settled[name] = told["last_id"]
                return True
            del self._settled[name]
        return False

    def _examine(self, engine: Any, trial: int | None) -> Iterable[Finding]:
        return examine(engine, self.dispatcher.registry, self.skip_types, self.checks, trial)
