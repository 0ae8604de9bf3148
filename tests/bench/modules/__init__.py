"""Modules that the benchmarks serve."""
