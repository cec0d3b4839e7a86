"""Sampling of responses: one file an engine, registered in engines.py."""
