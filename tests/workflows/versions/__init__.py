"""Versions of workflow types."""
