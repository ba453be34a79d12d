"""From stored predictions and runs to scores, statistics and tables. Never imports torch."""
