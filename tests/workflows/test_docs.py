"""The guide says what is true: its examples run, every page of it does so somewhere, and the reference is complete."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import pytest

from reactor import SenderError
from reactor.module import Program, Reducer
from reactor.reports import Report
from reactor.testing import Rig
from tests.guides import page_text, pages_with_snippets, run_page
from workflows import Handler, WorkflowEngine
from workflows.handle import Workflow
from workflows.life import LIFE, TERMINAL, Status
from workflows.views import monitoring_views

REFERENCE = page_text("reference")

# The guide in the order in which it is read.
GUIDE = (
    "workflows", "scripts", "signals", "starting", "control", "groups", "schedules", "tasks", "lists", "versions",
)  # fmt: skip
AUTHORS = ("modules", "testing")
"""The pages of the module author."""


@pytest.mark.parametrize("page", [*GUIDE, *AUTHORS])
def test_the_examples_of_a_page_run(page: str) -> None:
    """B7, D119: every block, in order, in one module; no page has become bare by accident."""
    assert run_page(page) >= 5


def test_every_page_with_examples_is_run() -> None:
    """A page that is added with examples in it must be added above, too."""
    assert pages_with_snippets() == {*GUIDE, *AUTHORS}


def test_the_guide_leads_from_page_to_page() -> None:
    """The entrance names every page, and each page ends with the way to the next."""
    pages = [*GUIDE, "reference"]
    for page, following in itertools.pairwise(pages):
        last = page_text(page).rstrip().rsplit("\n\n", 1)[-1]
        assert last.startswith("Next: ") and f"]({following}.md)" in last, page
    assert [page for page in pages[1:] if f"]({page}.md)" not in page_text("workflows")] == []


def test_the_guide_mentions_everything() -> None:
    """What a step can do, the hooks, the built-in types and their signals, the views, the options of an engine."""
    text = page_text("workflows")
    engine = WorkflowEngine()
    wanted = {*engine.registry.names, *monitoring_views(), "recovery_error", "skip_types", "authorize", "audit"}
    wanted |= {signal for kind in engine.registry for signal in kind.signals}
    wanted |= {f"w.{name}" for name in ("timer", "cancel_timer", "remaining_us", "complete", "fail", "random", "event")}
    wanted |= {name for name in vars(Handler) if name.startswith("on_")} - {"on_start"}
    assert sorted(word for word in wanted if word not in text) == []
    assert all(hasattr(Workflow, name[2:]) for name in wanted if name.startswith("w."))


def test_the_table_of_statuses_is_that_of_the_engine() -> None:
    """A01: each status, and every status it leads to, as in ``life.LIFE``; three ends are told below the table."""
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", page_text("workflows"), re.MULTILINE)
    told = {status: set(re.findall(r"`([A-Z]\w+)`", leads)) for status, leads in rows if status in set(Status)}
    always = {Status.CANCELLED, Status.TERMINATED, Status.TIMED_OUT}
    assert told == {status: set(moves.values()) - always for status, moves in LIFE.items()}
    assert all((status in TERMINAL) == (not always & set(moves.values())) for status, moves in LIFE.items())


def test_what_an_operator_looks_at_first_can_be_asked() -> None:
    """Every query that the page for operators shows runs as it stands."""
    queries = re.findall(r'^reactor sql "(.*)"$', page_text("operating"), re.MULTILINE)
    assert len(queries) >= 7
    with Rig(WorkflowEngine()) as rig:
        for query in queries:
            rig.sql(query)


# -- the reference ---------------------------------------------------------------------------------


@pytest.fixture(scope="module", name="rig")
def make_rig_of_engine() -> Iterator[Rig]:
    """An engine with nothing beside it."""
    with Rig(WorkflowEngine()) as rig:
        yield rig


def rows_of(heading: str) -> list[tuple[str, ...]]:
    """The cells of all tables under a heading of the reference."""
    part = re.search(rf"^## {heading}$(.*?)(?=^## |\Z)", REFERENCE, re.MULTILINE | re.DOTALL)
    assert part is not None
    return [tuple(line.strip("| ").split(" | ")) for line in re.findall(r"^\| `.*\|$", part[1], re.MULTILINE)]


def test_the_reference_lists_every_table(rig: Rig) -> None:
    """Each once, with its access; and nothing that is not there."""
    tables = rig.engine.program.tables
    listed = [(name.strip("`"), access) for name, access, _, _ in rows_of("Tables")]
    assert sorted(listed) == sorted((name, "public" if it.public else "private") for name, it in tables.items())


def test_the_reference_lists_every_view_and_who_may_read_it(rig: Rig) -> None:
    """Each once; those for the owner are refused to others."""
    listed = {name.strip("`"): who for name, who, _ in rows_of("Views")}
    assert list(listed) == list(dict.fromkeys(listed)) and set(listed) == set(rig.engine.program.views)
    for name, who in listed.items():
        rig.sql(f"SELECT * FROM {name}")
        if who == "all":
            rig.sql(f"SELECT * FROM {name}", owner=False)
        else:
            with pytest.raises(SenderError, match="only the owner"):
                rig.sql(f"SELECT * FROM {name}", owner=False)


def declared_in(program: Program) -> dict[str, Reducer | Report]:
    """What can be called."""
    return {**program.reducers, **program.reports}


def signature(program: Program, name: str) -> str:
    """A reducer or report as the reference writes it."""
    shown = declared_in(program)[name].to_json()
    return f"`{name}({', '.join(parameter['name'] for parameter in shown['params'])})`"


def test_the_reference_lists_every_reducer(rig: Rig) -> None:
    """Each once, with its parameters and access; internal ones with the table whose rows run them."""
    program = rig.engine.program
    listed = rows_of("Reducers")
    declared = declared_in(program)
    assert sorted(row[:2] for row in listed) == sorted(
        (signature(program, name), it.access) for name, it in declared.items()
    )
    run_by = {row[0].split("(")[0].strip("`"): row[2].strip("`") for row in listed if row[1] == "internal"}
    assert run_by == {table.scheduled: name for name, table in program.tables.items() if table.scheduled is not None}


def test_the_reference_says_owner_where_the_owner_alone_may(rig: Rig) -> None:
    """A reducer for the owner, however it is declared, refuses a stranger before it looks at anything else."""
    program, stranger = rig.engine.program, rig.connect("f" * 32)
    for shown, access, *rest in rows_of("Reducers"):
        name = shown.strip("`").split("(")[0]
        if access == "internal" or rest[0] not in ("all", "owner"):
            continue
        answer = stranger.ask(call=name, args=example_arguments(program, name))
        refused = answer.get("error", {}).get("code") == "forbidden"
        assert refused == (rest[0] == "owner"), (name, answer)


EXAMPLES = {
    "id": 1, "name": "sink", "reason": "why", "type": "buff", "days": 1, "types": {}, "spec": {"cron": ["@daily"]},
    "settings": {"workflow_type": "buff"}, "from_at": 0, "to_at": 1, "limit": 1, "queue": "q", "by": "status",
    "processed": True, "data": None, "key": "k",
}  # fmt: skip


def example_arguments(program: Program, name: str) -> dict[str, object]:
    """Arguments of the right types; none for what has a default."""
    shown = declared_in(program)[name].to_json()
    return {p["name"]: EXAMPLES[p["name"]] for p in shown["params"] if p["required"]}
