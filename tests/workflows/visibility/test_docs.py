"""The guide to lists says what is true."""

from __future__ import annotations

from tests.guides import page_text
from workflows.attributes.values import ATTRIBUTES_MAX, NAME_CHARS_MAX, TAGS_MAX, TEXT_CHARS_MAX
from workflows.visibility.counting import GROUPS, GROUPS_MAX
from workflows.visibility.filters import ListFilter
from workflows.visibility.listing import ITEM, LIMIT, LIMIT_MAX

GUIDE = page_text("lists")


def test_the_guide_mentions_every_filter_and_bound() -> None:
    """Parts of a filter, columns of an item, bounds."""
    wanted = {f"`{name}`" for name in (*ListFilter.__struct_fields__, *ITEM)}
    wanted |= {f"{n:,}" for n in (ATTRIBUTES_MAX, TAGS_MAX, NAME_CHARS_MAX, TEXT_CHARS_MAX)}
    wanted |= {f"{n:,}" for n in (GROUPS, GROUPS_MAX, LIMIT, LIMIT_MAX)}
    assert sorted(word for word in wanted if word not in GUIDE) == []
