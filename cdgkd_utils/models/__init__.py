"""Networks by family and name."""
