"""Prototypes, rebalancing and distillation: pure functions and small stateful losses, no loops over data."""
