"""Names for annotations with types of libraries that are imported late."""

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pandas import DataFrame as Frame
    from torch import Tensor
else:
    Frame = Tensor = Any

S = TypeVar("S")
T = TypeVar("T")
Record = dict[str, Any]
# These are Any because a PeftModel is often passed instead of the model that it wraps.
PeftModel = Any
PreTrainedModel = Any
PreTrainedTokenizerBase = Any
LoraConfig = Any
Dataset = Any
ContinuousBatchingManager = Any
