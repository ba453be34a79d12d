"""Splits, protocols by name and the leakage audit."""
