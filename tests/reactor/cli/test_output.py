"""What commands print."""

from __future__ import annotations

from reactor.cli.output import distinct, ndjson, table


def test_a_table() -> None:
    """B79: golden: aligned, numbers right, NULL shown, JSON compact, control characters harmless."""
    text = table(["id", "name"], [[1, "a\x1b[31m"], [20, None], [3, {"k": [1]}]])
    assert text == ('id | name\n---+----------\n 1 | a\\x1b[31m\n20 | NULL\n 3 | {"k":[1]}\n')
    assert table(["x"], [], 1500).endswith("(0 rows, 1.5 ms)\n")


def test_ndjson_keeps_every_column() -> None:
    """One object a line; equal names are told apart rather than lost."""
    assert ndjson(["id", "id", "id_2"], [[1, 2, 3]]) == b'{"id":1,"id_2":2,"id_2_2":3}\n'
    assert distinct(["a", "b"]) == ["a", "b"]
    assert ndjson(["a"], []) == b""
