"""The guide to versions says what is true."""

from __future__ import annotations

from tests.guides import page_text
from workflows.versions.part import VIEWS

GUIDE = page_text("versions")


def test_the_guide_mentions_everything() -> None:
    """Verbs, views, attributes and hooks of this part."""
    wanted = {*VIEWS, "workflow_definition", "migrations", "downgrades", "state_version", "on_reload", "on_unload"}
    wanted |= {"workflow_migrate", "workflow_type_retire", "workflow_type_restore", "workflow_type_status", "examine"}
    assert sorted(word for word in wanted if word not in GUIDE) == []
