"""``python -m reactor``: the same as the command ``reactor``."""

from reactor.cli import main

main()
