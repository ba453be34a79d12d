"""DEAP on disk: reader, writer and the raw recordings."""
