"""A run as a content-addressed unit, the recipes behind the tables' rows, and running them all."""
