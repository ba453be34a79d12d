"""File formats and helpers that both data sets share."""
