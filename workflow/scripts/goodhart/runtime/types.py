"""Types of libraries that are imported late, under names that annotations can use before the import."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame as Frame
    from torch import Tensor
else:
    Frame = Tensor = Any

Record = dict[str, Any]
# Untyped here: a PeftModel stands for the model that it wraps.
PeftModel = Any
PreTrainedModel = Any
PreTrainedTokenizerBase = Any
LoraConfig = Any
Dataset = Any
ContinuousBatchingManager = Any
