"""Tags and search attributes: what a game calls its workflows by, besides type, entity and correlation.

values      what an attribute may hold, and the text that stands for it
tables      their rows
book        setting, changing and finding them
part        the reducers, and what happens at a start and a removal
"""

from workflows.attributes.book import (
    attributes_of,
    has_attribute,
    has_tag,
    mark,
    tags_of,
    with_attribute,
    with_tag,
)
from workflows.attributes.part import AttributePart

__all__ = [
    "AttributePart",
    "attributes_of",
    "has_attribute",
    "has_tag",
    "mark",
    "tags_of",
    "with_attribute",
    "with_tag",
]
