"""The `continuous` engine: continuous batching of transformers, in which a new row replaces each finished row.

It samples from the model in memory, with its PEFT adapter, merged or not, also from 4-bit weights. On a GPU, it uses
flash attention if this is installed and the weights have 16 bits. On a given machine and with a given batch size, the
seed determines every token. Unlike in `loop`, two policies with the same seed do not share random numbers.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from goodhart.errors import InputError
from goodhart.models.adapters import base_of
from goodhart.runtime.batches import within_memory
from goodhart.runtime.distributed import divide, rank
from goodhart.runtime.finite import NotFinite
from goodhart.runtime.seeds import mix
from goodhart.runtime.types import ContinuousBatchingManager, PreTrainedModel
from goodhart.sampling.endings import Ending
from goodhart.sampling.settings import Sampling

PREFILL = 1024  # prompt tokens per forward pass
# Texts of torch's errors for NaN or infinite probabilities: on a CPU, and on a GPU, where it is only an assertion.
NO_DISTRIBUTION = ("probability tensor contains", "device-side assert triggered")


def draw(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], how: Sampling, ending: Ending, seed: int
) -> list[list[int]]:
    """One row of tokens per prompt; each process samples at most `batch_size` rows at a time."""

    def part(rows: Sequence[Sequence[int]]) -> list[list[int]]:
        return within_memory(
            lambda size: _draw(model, rows, replace(how, batch_size=size), ending, mix(seed, rank())),
            how.batch_size,
            "sampling",
        )[0]

    return divide(part, prompts)


def _draw(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], how: Sampling, ending: Ending, seed: int
) -> list[list[int]]:
    """Run `draw` in this process.

    Each call creates a new manager, since the pages of an old manager were computed with the adapter before the update.
    Stop strings are searched for afterwards (`Ending.cut`): if rows were cancelled at once, the batches, and therefore
    the random numbers, would depend on timing.
    """
    base = base_of(model)
    attention = base.config._attn_implementation
    with torch.random.fork_rng():  # the manager seeds the global generators
        try:
            manager = _manager(base, prompts, how, ending, seed)
            # All rows are queued before the first batch is formed; otherwise the batches would depend on timing.
            names = manager.add_requests([list(ids) for ids in prompts], max_new_tokens=how.max_new_tokens)
            return _collect(manager, names)
        except RuntimeError as error:
            if not any(sign in str(error) for sign in NO_DISTRIBUTION):
                raise
            rows = [{"prompt": ending.tokenizer.decode(list(ids)), "prompt_tokens": list(ids)} for ids in prompts]
            what = f"the next-token distribution is not finite in one of {len(rows)} rows"
            raise NotFinite(what, rows, where="sampling") from error
        finally:
            if base.config._attn_implementation != attention:
                base.set_attn_implementation(attention)


def _manager(
    base: PreTrainedModel, prompts: Sequence[Sequence[int]], how: Sampling, ending: Ending, seed: int
) -> ContinuousBatchingManager:
    """A manager with a cache for `batch_size` rows of maximal length, regardless of free memory."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    # We ignore the model's generation config, which may have top-k, top-p or a temperature: the policy gradient needs
    # samples from the distribution that the log-probs describe.
    generation = GenerationConfig(
        do_sample=True,
        max_new_tokens=how.max_new_tokens,
        eos_token_id=list(ending.tokens),
        pad_token_id=ending.tokenizer.pad_token_id,
    )
    together = min(how.batch_size, len(prompts))
    config = ContinuousBatchingConfig(
        max_requests_per_batch=together,
        max_batch_tokens=max(PREFILL, together),
        allow_block_sharing=False,
        auto_switch_to_flash=base.dtype != torch.float32,
        use_cuda_graph=False,  # capturing graphs again for each call costs more time than they save
        use_async_batching=False,
        seed=seed,
    )
    pages = -(-(max(map(len, prompts)) + how.max_new_tokens) // config.page_size)
    config.num_blocks = together * (pages + 1)
    try:
        return base.init_continuous_batching(generation_config=generation, continuous_batching_config=config)
    except (ValueError, NotImplementedError) as error:
        raise InputError(
            f"sampling engine continuous cannot run {type(base).__name__} ({error}); use loop instead."
        ) from error


def _collect(manager: ContinuousBatchingManager, names: Sequence[str]) -> list[list[int]]:
    """Sample all queued rows; returns their tokens in the order of `names`."""
    done: dict[str, list[int]] = {}
    manager.start()
    try:
        while len(done) < len(names):
            result = manager.get_result(timeout=1)
            if result is None and not manager.is_running():
                raise RuntimeError(f"continuous batching stopped early: {manager.background_thread_status.fatal_error}")
            if result is not None and result.is_finished():
                if result.error is not None:
                    raise RuntimeError(f"continuous batching failed: {result.error}")
                done[result.request_id] = result.generated_tokens
    finally:
        manager.stop(hard_stop=len(done) < len(names))
        manager.destroy()
    return [done[name] for name in names]
