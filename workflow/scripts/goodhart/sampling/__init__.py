"""Sampling of responses: one file per engine, registered in engines.py."""
