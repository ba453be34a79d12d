"""From files, or the synthetic twin, to windows, splits and normalised inputs."""
