"""The `vllm` engine: vLLM serves the base beside training and takes the adapter anew for each call.

Not exercised by the tests: needs a GPU and the extra `vllm`, which takes the torch and transformers pinned here.

It costs a second copy of the base in memory and its key-value cache, together at most `SHARE` of what is free when the
first call starts; a batch size that leaves no such room wants another engine. Its kernels round differently from
training's, so the log-probs that training computes are those of a very slightly different policy.
"""

import importlib.util
import itertools
import os
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from goodhart.errors import InputError
from goodhart.models.adapters import base_of, save_adapter
from goodhart.runtime.distributed import divide
from goodhart.runtime.seeds import mix
from goodhart.runtime.types import PeftModel, PreTrainedModel
from goodhart.sampling.endings import Ending
from goodhart.sampling.settings import Sampling

SHARE = 0.5
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # the largest adapter that a server is built for
_fresh = itertools.count(1)  # an id names one adapter for good: vLLM keeps adapters, and pages of them, by id and name


def draw(
    model: PreTrainedModel | PeftModel, prompts: Sequence[Sequence[int]], how: Sampling, ending: Ending, seed: int
) -> list[list[int]]:
    """Tokens of one row a prompt under the active adapter; at most `batch_size` rows run at a time in each process.

    The random numbers of a row follow from `seed` and its place alone: common to all policies given one seed.
    """
    return divide(lambda part: _draw(model, part, how, ending, seed), list(enumerate(prompts)))


def _draw(
    model: PreTrainedModel | PeftModel,
    prompts: Sequence[tuple[int, Sequence[int]]],
    how: Sampling,
    ending: Ending,
    seed: int,
) -> list[list[int]]:
    """The same in this process, of numbered prompts."""
    if importlib.util.find_spec("vllm") is None:
        raise InputError("sampling engine vllm needs vLLM, which is not installed; pip install '.[vllm]', or use auto.")
    # In this process: deterministic scheduling, and no child that would outlive us.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest

    base = base_of(model)
    adapted = base is not model
    adapter = model.base_model.active_adapters[0] if adapted else ""
    rank = model.peft_config[adapter].r if adapted else 0
    parameters = [
        SamplingParams(
            temperature=1.0,
            top_p=1.0,
            top_k=0,
            min_p=0.0,
            max_tokens=how.max_new_tokens,
            stop_token_ids=list(ending.tokens),
            stop=list(ending.stop),
            seed=mix(seed, row),
        )
        for row, _ in prompts
    ]
    with torch.random.fork_rng(), tempfile.TemporaryDirectory() as folder:  # it seeds the global generators
        server = _server(
            base.name_or_path,
            getattr(base.config, "_commit_hash", None),
            str(base.dtype).removeprefix("torch."),
            bool(getattr(base, "is_loaded_in_4bit", False)),
            next((size for size in RANKS if size >= rank), rank) if adapted else 0,
            how.batch_size,
        )
        request = None
        if adapted:
            save_adapter(model, adapter, Path(folder))
            number = next(_fresh)
            request = LoRARequest(lora_name=f"{adapter}-{number}", lora_int_id=number, lora_path=folder)
        outputs = server.generate(
            [{"prompt_token_ids": list(ids)} for _, ids in prompts], parameters, lora_request=request, use_tqdm=False
        )
    return [list(output.outputs[0].token_ids) for output in outputs]


@cache
def _server(model: str, revision: str | None, dtype: str, nf4: bool, rank: int, batch_size: int) -> Any:
    """The base, loaded once a process; rank 0 serves no adapters. nf4 is quantised while loading, as training's is."""
    from vllm import LLM

    free, total = torch.cuda.mem_get_info()
    return LLM(
        model=model,
        revision=revision,
        tokenizer_revision=revision,
        dtype=dtype,
        quantization="bitsandbytes" if nf4 else None,
        generation_config="vllm",  # not the model's, which may ask for top-k, top-p or a temperature
        enable_lora=rank > 0,
        **({"max_lora_rank": rank, "max_loras": 1} if rank else {}),
        max_num_seqs=batch_size,
        gpu_memory_utilization=SHARE * free / total,
        seed=0,
    )
