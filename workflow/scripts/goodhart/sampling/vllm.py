"""The `vllm` engine: vLLM serves a second copy of the base and loads the current adapter at each call.

Experimental, untested: it needs a GPU and the extra `vllm`, which works with the pinned versions of torch and
transformers.

The copy of the base and the key-value cache use at most `SHARE` of the memory that is free at the first call; if the
batch size needs more, use another engine. vLLM's kernels round differently from the kernels of training, so that
training computes log-probs of a policy slightly different from the sampled policy.
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
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # maximum LoRA ranks that vLLM supports
_fresh = itertools.count(1)  # ids are never reused, because vLLM caches adapters and their pages by id


def draw(
    model: PreTrainedModel | PeftModel, prompts: Sequence[Sequence[int]], how: Sampling, ending: Ending, seed: int
) -> list[list[int]]:
    """One row of tokens per prompt with the active adapter; each process samples at most `batch_size` rows at a time.

    The random numbers of a row depend only on `seed` and the row's number, so that two policies with the same seed are
    compared with common random numbers.
    """
    return divide(lambda part: _draw(model, part, how, ending, seed), list(enumerate(prompts)))


def _draw(
    model: PreTrainedModel | PeftModel,
    prompts: Sequence[tuple[int, Sequence[int]]],
    how: Sampling,
    ending: Ending,
    seed: int,
) -> list[list[int]]:
    """Run `draw` in this process, for numbered prompts."""
    if importlib.util.find_spec("vllm") is None:
        raise InputError("sampling engine vllm needs vLLM, which is not installed; pip install '.[vllm]', or use auto.")
    # Avoids a child process, which could survive this process, and makes scheduling deterministic.
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
    with torch.random.fork_rng(), tempfile.TemporaryDirectory() as folder:  # vLLM seeds the global generators
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
    """The server of a base, one per process; `rank` 0: no adapters; `nf4`: quantised when loaded, as in training."""
    from vllm import LLM

    free, total = torch.cuda.mem_get_info()
    return LLM(
        model=model,
        revision=revision,
        tokenizer_revision=revision,
        dtype=dtype,
        quantization="bitsandbytes" if nf4 else None,
        generation_config="vllm",  # not the model's, which may have top-k, top-p or a temperature
        enable_lora=rank > 0,
        **({"max_lora_rank": rank, "max_loras": 1} if rank else {}),
        max_num_seqs=batch_size,
        gpu_memory_utilization=SHARE * free / total,
        seed=0,
    )
