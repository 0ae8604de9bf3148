"""The options that every command which talks to a server has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Server = Annotated[
    str | None,
    typer.Option(help="URL of the server; else $REACTOR_SERVER, else http://127.0.0.1:3000.", metavar="URL"),
]
Database = Annotated[
    str | None,
    typer.Option(help="Name of the database; else $REACTOR_DATABASE, else the one the server has.", metavar="NAME"),
]
Token = Annotated[
    str | None,
    typer.Option(help="Who you are; else $REACTOR_TOKEN, else the owner's token in the data directory."),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Where the owner's token of a local server lies; else $REACTOR_DATA_DIR, else ./data/NAME.", metavar="DIR"
    ),
]
