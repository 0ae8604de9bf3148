"""The samples as the module that `reactor run examples/samples` finds."""

from __future__ import annotations

from . import make_samples

module = make_samples()
