"""Play every sample and keep the record of each that has none yet: ``python -m tests.histories``.

A record is never written anew: it is what runs of today's databases look like, and code must go on replaying it.
"""

from __future__ import annotations

from tests.histories.library import FOLDER, write_missing

if __name__ == "__main__":
    for path in write_missing():
        print(f"wrote {path.relative_to(FOLDER.parent.parent)}")
