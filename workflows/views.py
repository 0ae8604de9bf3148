"""The monitoring views, read from ``monitor.sql`` so that the same text can be pasted into any SQLite shell."""

from __future__ import annotations

import re
from importlib import resources

_VIEW = re.compile(r"^CREATE VIEW (\w+) AS\n(.*?);$", re.MULTILINE | re.DOTALL)


def monitoring_views() -> dict[str, str]:
    """View name -> its SELECT."""
    text = resources.files("workflows").joinpath("monitor.sql").read_text(encoding="utf-8")
    return dict(_VIEW.findall(text))
