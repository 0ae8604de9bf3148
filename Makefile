# `make run` and `make test` are all a newcomer needs: each sets up what it uses.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test lint bench bench-peers clean

run: .venv/installed
	$(BIN)/python -m examples.arena

test: .venv/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: .venv/tested
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

bench: .venv/tested
	$(BIN)/python -m tests.bench

bench-peers: .venv/tested
	$(BIN)/pip install --quiet --editable '.[peers]'
	$(BIN)/python -m tests.bench peers

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable .
	@touch $@

.venv/tested: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[test]'
	@touch .venv/installed $@

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
