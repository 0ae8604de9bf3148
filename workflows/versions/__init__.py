"""Versions of workflow types: states that were stored by other code, what a deploy changes, types that are given up."""
