"""The rows of attributes and tags. Public: who may see workflows may see what they are called by."""

from __future__ import annotations

from reactor.schema import TableSchema, declare_table, index, primary_key
from workflows.attributes.values import Kind

ATTRIBUTE_TABLE = "workflow_attribute"
TAG_TABLE = "workflow_tag"


class AttributeRow:
    """One attribute of a workflow. ``value`` is text whatever it holds: ``3``, ``true``. ``kind`` says what it is."""

    id: int = primary_key(auto=True)
    workflow_id: int
    name: str
    kind: Kind
    value: str


class TagRow:
    """One tag of a workflow."""

    id: int = primary_key(auto=True)
    workflow_id: int
    tag: str


ATTRIBUTE_SCHEMA = declare_table(
    AttributeRow,
    name=ATTRIBUTE_TABLE,
    public=True,
    unique=[("workflow_id", "name")],
    indexes=["workflow_id", index("name", "value")],
)
TAG_SCHEMA = declare_table(
    TagRow, name=TAG_TABLE, public=True, unique=[("workflow_id", "tag")], indexes=["workflow_id", "tag"]
)

SCHEMAS: tuple[TableSchema, ...] = (ATTRIBUTE_SCHEMA, TAG_SCHEMA)
