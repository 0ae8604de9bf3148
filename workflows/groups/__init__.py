"""Groups: one command to many workflows, chosen by a filter. ``docs/groups.md`` is the guide."""

from workflows.groups.selection import Selection

__all__ = ["Selection"]
