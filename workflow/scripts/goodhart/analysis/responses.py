"""Checks of arrays with one value per response: (evaluations, problems) of one run, problems in the same order."""

from typing import Any

import numpy as np

from goodhart.analysis.gap import FloatArray
from goodhart.errors import InputError


def per_response(**named: Any) -> list[FloatArray]:
    """The named arrays as finite floats of one shape (evaluations, problems), which has at least one evaluation."""
    arrays = {name: finite_array(name, values) for name, values in named.items()}
    for name, values in arrays.items():
        if values.ndim != 2 or not values.size:
            raise InputError(f"{name} must be of shape (evaluations, problems), not {values.shape}.")
    if len({values.shape for values in arrays.values()}) > 1:
        shapes = ", ".join(str(values.shape) for values in arrays.values())
        raise InputError(f"{', '.join(arrays)} differ in shape: {shapes}.")
    return list(arrays.values())


def finite_array(name: str, values: Any) -> FloatArray:
    """`values` as an array of floats of any shape; InputError with `name` if one of them is no finite number."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be an array of numbers.") from None
    if not np.isfinite(array).all():
        raise InputError(f"{name} holds a value that is not finite.")
    return array


def check_binary(name: str, values: FloatArray) -> None:
    """InputError with `name` unless all values are 0 or 1."""
    if not np.isin(values, (0, 1)).all():
        raise InputError(f"{name} must hold nothing but 0 and 1.")
