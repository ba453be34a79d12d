"""The notebooks as teaching material: copies for a class, and one static site."""
