"""Embedded tasks, whose problems are generated: one file for each task, `registry.py`."""
