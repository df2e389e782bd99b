"""A real Kubernetes with a real platform on it, on one machine without Docker: ``python -m lab``."""
