"""Tasks with generated problems: one file a task."""
