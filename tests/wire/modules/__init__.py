"""Modules that the tests of the doors serve."""
