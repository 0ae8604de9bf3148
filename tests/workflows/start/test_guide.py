"""The guide to starting says what is true: it mentions everything there is."""

from __future__ import annotations

from tests.guides import page_text
from workflows.start.options import OnConflict, Outcome, StartOptions
from workflows.start.tables import SCHEMAS

GUIDE = page_text("starting")


def test_the_guide_mentions_everything() -> None:
    """Options, outcomes, policies, tables."""
    wanted = {*OnConflict, *Outcome, *StartOptions.__struct_fields__, *(schema.name for schema in SCHEMAS)}
    assert sorted(word for word in wanted if f"`{word}" not in GUIDE) == []
