"""Levels of offline conservatism, by name: a percentile of Eq. 7, or a beta."""

from __future__ import annotations

import re

from goodhart.errors import InputError


def parse_level(level: str) -> tuple[str, float]:
    """('percentile', 20.0) of "p20", ('beta', 0.1) of "b0.10"."""
    match = re.fullmatch(r"p(\d+(?:\.\d+)?)|b(\d+(?:\.\d+)?)", level)
    if match and match[1] is not None and 0 < float(match[1]) < 100:
        return "percentile", float(match[1])
    if match and match[2] is not None and float(match[2]) > 0:
        return "beta", float(match[2])
    raise InputError(f"level {level!r} is neither a percentile such as p20 nor a positive beta such as b0.10.")
