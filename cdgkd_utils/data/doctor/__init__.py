"""What a data folder holds and what it lacks."""
