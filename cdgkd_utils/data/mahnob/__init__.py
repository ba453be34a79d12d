"""MAHNOB-HCI on disk: reader and writer."""
