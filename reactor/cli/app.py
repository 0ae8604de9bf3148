"""The commands under one name."""

from __future__ import annotations

import typer

from reactor.cli import asking, backfilling, checking, listing, reloading, running, watching

app = typer.Typer(
    help="Entity Reactor: typed tables, timers and workflows of game entities, served and watched.",
    no_args_is_help=True,
    add_completion=False,
    # Plain help and plain tracebacks: loading rich for them would take longer than most commands run.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("run")(running.run_command)
app.command("sql")(asking.sql_command)
app.command("call")(asking.call_command)
app.command("subscribe")(watching.subscribe_command)
app.command("logs")(asking.logs_command)
app.command("describe")(asking.describe_command)
app.command("version")(asking.version_command)
app.command("check")(checking.check_command)
app.command("reload")(reloading.reload_command)
app.add_typer(reloading.type_app, name="type")
app.command("backfill-visibility", cls=backfilling.BackfillCommand)(backfilling.backfill_command)
app.add_typer(listing.workflows_app, name="workflows")
