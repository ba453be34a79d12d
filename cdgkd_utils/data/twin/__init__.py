"""The synthetic twin: plan, EEG, faces."""
