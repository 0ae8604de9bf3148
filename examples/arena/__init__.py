"""The arena: a small game on Entity Reactor. ``python -m examples.arena`` plays it; see ``module.py`` first."""
