r"""Measure what the memory plan predicts: every stage run for real on a CPU, on random models large enough to count.

Every allocation of torch's CPU allocator is seen through the profiler, the temporaries inside a kernel among them. A
stage's figure is what its base model holds and the most that was allocated beside it, in MiB.

    python bench/measure_memory.py --shape small --precision nf4
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from goodhart.cli import parser
from goodhart.runtime.threads import use_threads

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from goodhart.memory.plan import Stage, Study

MEMBERS = 3
RANK = 16


@dataclass(frozen=True)
class Bench:
    """A random Qwen3 and the batches it is run with; the longest prompt and the responses in tokens."""

    shape: tuple[int, ...]  # hidden, layers, heads, kv heads, head_dim, mlp
    vocabulary: int
    prompt: int
    response: int
    rows: int  # of a training step: pairs, or responses of the online update
    scored: int  # rows sampled or scored together

    @property
    def length(self) -> int:
        return self.prompt + self.response


BENCHES = {
    "quick": Bench((256, 4, 4, 2, 64, 768), 6000, 32, 40, rows=4, scored=8),
    "small": Bench((512, 12, 8, 4, 64, 1536), 32000, 64, 80, rows=4, scored=8),
    "wide": Bench((768, 10, 6, 2, 128, 3072), 48000, 80, 96, rows=2, scored=4),
}


def peak_bytes(action: Callable[[], object]) -> int:
    """The most that torch's CPU allocator held during `action` above what it held before, in bytes."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        action()
    pending, allocations = list(recorded.profiler.kineto_results.experimental_event_tree()), []
    while pending:
        event = pending.pop()
        pending += event.children
        if event.tag.name == "Allocation":
            allocations.append((event.start_time_ns, event.extra_fields.ptr, event.extra_fields.alloc_size))
    held: dict[int, int] = {}
    total = most = 0
    for _, address, size in sorted(allocations):
        if size > 0:
            held[address] = size
            total += size
            most = max(most, total)
        else:  # what was there before is freed unseen, or an earlier stage's leavings would count against this one
            total -= held.pop(address, 0)
    return most


def held_bytes(model: PreTrainedModel) -> int:
    """Bytes of a loaded model: parameters and buffers, tied ones once, and the constants of 4-bit weights."""
    tensors = [*model.parameters(), *model.buffers()]
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        if state is not None:
            tensors += [state.absmax, state.state2.absmax, state.offset]
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())


class Stages:
    """Every stage of the workflow that holds a model, on one `Bench`, as its script runs it."""

    def __init__(self, folder: Path, bench: Bench, precision: str) -> None:
        import torch

        from goodhart.models.loading import load_tokenizer
        from goodhart.models.manifest import read_manifest, stamp_model
        from goodhart.training.pretraining import Shape, build_model, build_tokenizer

        self.folder, self.bench, self.precision = folder, bench, precision
        torch.manual_seed(0)
        letters = zip(product(ascii_lowercase, repeat=4), range(bench.vocabulary - 2), strict=False)
        self.words = [" " + "".join(word) for word, _ in letters]
        self.policy = folder / "policy"
        tokenizer = build_tokenizer(["".join(self.words)])
        build_model(tokenizer, Shape(*bench.shape)).save_pretrained(self.policy)
        tokenizer.save_pretrained(self.policy)
        stamp_model(self.policy, self.policy, "plain")
        self.manifest = read_manifest(self.policy)
        self.tokenizer = load_tokenizer(self.policy)
        self.adapter = self._adapter("offline", "CAUSAL_LM")
        self.members = [self._adapter(f"member-{k}", "SEQ_CLS") for k in range(MEMBERS)]
        rows = max(2 * bench.scored, 2 * bench.rows)  # two batches of every pass, so that the first one's leavings show
        # Prompts differ in length, as they do: rows of one length would need no padding, hence no mask.
        self.prompts = [self._text(bench.prompt - row % 3, row) for row in range(rows)]
        self.responses = [self._text(bench.response - 1, row + 1) for row in range(rows)]

    def derived(self, recompute: bool) -> dict[str, Any]:
        """What derive_hyperparameters says of this model, the batch and the length in use being the bench's."""
        from goodhart.hyperparameters.appendix_c import derive

        record = derive(
            hidden_size=self.manifest["hidden_size"],
            parameters=self.manifest["parameters"],
            projections=self.manifest["projections"],
            n=10_000,
            memory_gb=16,
            token_counts=[self.bench.length],
            epochs=1,
            overrides={
                "batch_size": self.bench.rows,
                "inference_batch_size": self.bench.scored,
                "max_length": self.bench.length,
                "lora_rank": RANK,
            },
        )
        record["inputs"]["parameters"] = 1e9 if recompute else 1e6  # training recomputes activations above 5e7
        return record

    def score_reference(self) -> int:
        import torch

        from goodhart.models.logprobs import sequence_logprobs
        from goodhart.models.tokens import collate
        from goodhart.runtime.batches import in_batches

        @torch.no_grad()
        def run(model: Any) -> None:
            def score(rows: Any) -> list[float]:
                return sequence_logprobs(
                    model, collate(*zip(*rows, strict=True), pad=self.tokenizer.pad_token_id)
                ).tolist()

            pairs = list(zip(*self._tokens(2 * self.bench.scored), strict=True))
            in_batches(score, pairs, self.bench.scored, "log-probs")

        return self._with_policy(run)

    def train_reward(self, recompute: bool = False) -> int:
        from trl import RewardConfig

        from goodhart.models.adapters import lora_config
        from goodhart.models.loading import load_reward_backbone
        from goodhart.training.guarded import MemberTrainer
        from goodhart.training.trainers import tokenized

        prompts, responses = self._tokens(2 * self.bench.rows)
        rows = [{"chosen_ids": p + r, "rejected_ids": p + r[::-1]} for p, r in zip(prompts, responses, strict=True)]
        model = load_reward_backbone(self.policy, self.precision)

        def build(settings: dict[str, Any]) -> MemberTrainer:
            return MemberTrainer(
                model=model,
                args=RewardConfig(**settings),
                train_dataset=tokenized(rows),
                processing_class=self.tokenizer,
                peft_config=lora_config(RANK, 2 * RANK, 0.1, "SEQ_CLS"),
            )

        return held_bytes(model) + peak_bytes(lambda: self._train(build, recompute))

    def train_offline(self, recompute: bool = False) -> int:
        from goodhart.models.adapters import lora_config
        from goodhart.training.offline import CachedReferenceDPOTrainer, config
        from goodhart.training.trainers import tokenized

        rows = [
            {
                "prompt_ids": p,
                "chosen_ids": r,
                "rejected_ids": r[::-1],
                "ref_chosen_logps": 0.0,
                "ref_rejected_logps": 0.0,
            }
            for p, r in zip(*self._tokens(2 * self.bench.rows), strict=True)
        ]

        def run(model: Any) -> None:
            def build(settings: dict[str, Any]) -> CachedReferenceDPOTrainer:
                return CachedReferenceDPOTrainer(
                    model=model,
                    args=config("dpo", 0.1, settings),
                    train_dataset=tokenized(rows),
                    processing_class=self.tokenizer,
                    peft_config=lora_config(RANK, 2 * RANK, 0.1, "CAUSAL_LM"),
                )

            self._train(build, recompute)

        return self._with_policy(run)

    def _train(self, build: Callable[[dict[str, Any]], Any], recompute: bool) -> None:
        from goodhart.training.checkpoints import Checkpoints
        from goodhart.training.trainers import train

        train(build, self.derived(recompute), self.precision, 1, 0, Checkpoints(self.folder / "out", {}, 5))

    def evaluate_rewards(self) -> int:
        from goodhart.models.ensemble import RewardEnsemble
        from goodhart.models.loading import load_reward_backbone

        model = load_reward_backbone(self.policy, self.precision)

        def run() -> None:
            ensemble = RewardEnsemble(model, self.tokenizer, self.members, self.bench.scored, self.bench.length)
            ensemble.score(self.prompts[: 2 * self.bench.scored], self.responses[: 2 * self.bench.scored])

        return held_bytes(model) + peak_bytes(run)

    def sample_reference(self) -> int:
        from goodhart.evaluation.responses import respond

        return self._with_policy(lambda model: respond(model, self.tokenizer, self._exam()))

    def sample_continuously(self) -> int:
        """`sample_reference` in the engine of a GPU, whose loop runs in this thread: the profiler sees no other."""
        import torch

        from goodhart.sampling.continuous import _manager
        from goodhart.sampling.endings import ending

        def run(model: Any) -> None:
            ids, _ = self._tokens(2 * self.bench.scored)
            how = self._exam().sampling
            with torch.random.fork_rng():
                manager = _manager(model, ids, how, ending(model, self.tokenizer), 0)
                manager.add_requests(ids, max_new_tokens=how.max_new_tokens)
                status = manager.background_thread_status
                status.request_stop(status.FLUSH_AND_STOP, 0)  # when every prompt is answered
                manager._run_generation_loop()
                done = [manager.get_result(timeout=1) for _ in ids]
                manager.destroy()
            if not all(result is not None and result.error is None for result in done):
                raise RuntimeError("continuous batching did not answer every prompt")

        return self._with_policy(run)

    def probe_offline(self) -> int:
        import torch

        from goodhart.evaluation.probes import Evaluator
        from goodhart.models.adapters import attach_adapter

        def run(model: Any) -> None:
            model = attach_adapter(model, self.adapter, "policy")
            centroid = torch.ones(self.bench.shape[0])
            ensemble, exam = self._ensemble(model), self._exam()
            Evaluator(model, self.tokenizer, ensemble, centroid, exam, self.bench.scored).evaluate(None)

        return self._with_policy(run)

    def adapt_online(self, recompute: bool = False) -> int:
        from goodhart.models.adapters import attach_adapter
        from goodhart.training.online.loop import OnlineRun
        from goodhart.training.settings import Settings

        def run(model: Any) -> None:
            model = attach_adapter(model, self.adapter, "policy", trainable=True)
            model = attach_adapter(model, self.adapter, "reference")
            settings = Settings(
                steps=2,
                evaluate_every=2,
                prompts_per_step=self.bench.scored,
                sampling=self._exam().sampling,
                beta=0.1,
                kl_percentile=90,
                learning_rate=1e-3,
                clip_norm=1.0,
                weight_decay=0.0,
                warmup_steps=1,
                batch_size=self.bench.rows,
                recompute=recompute,
            )
            online = OnlineRun(model, self.tokenizer, self._ensemble(model), settings, self.prompts, seed=0)
            for _ in range(2):
                online.step()

        return self._with_policy(run)

    def _with_policy(self, run: Callable[[Any], object]) -> int:
        from goodhart.models.loading import load_policy

        model = load_policy(self.policy, self.precision)
        return held_bytes(model) + peak_bytes(lambda: run(model))

    def _ensemble(self, model: Any) -> Any:
        from goodhart.hyperparameters.appendix_c import values
        from goodhart.models.ensemble import load_with_policy

        return load_with_policy(
            model, self.policy, self.policy, self.precision, self.members, values(self.derived(False))
        )

    def _exam(self) -> Any:
        import pandas as pd

        from goodhart.evaluation.responses import ProblemSet
        from goodhart.sampling.settings import Sampling
        from goodhart.verifiers.gsm8k import is_correct

        prompts = self.prompts[: 2 * self.bench.scored]
        sampling = Sampling(self.bench.response, self.bench.scored, "loop", ())
        rows = pd.DataFrame({"problem_id": range(len(prompts)), "prompt": prompts, "answer": "1"})
        return ProblemSet(rows, is_correct, sampling, 0)

    def _adapter(self, name: str, task: str) -> Path:
        from peft import get_peft_model

        from goodhart.models.adapters import lora_config
        from goodhart.models.loading import load_policy, load_reward_backbone

        load = load_policy if task == "CAUSAL_LM" else load_reward_backbone
        model = get_peft_model(load(self.policy, "float32"), lora_config(RANK, 2 * RANK, 0.0, task))
        model.save_pretrained(self.folder / name)
        return self.folder / name

    def _text(self, words: int, row: int) -> str:
        return "".join(self.words[(row * words + i) % len(self.words)] for i in range(words))

    def _tokens(self, rows: int) -> tuple[list[list[int]], list[list[int]]]:
        from goodhart.models.tokens import encode_prompts, encode_responses

        return (
            encode_prompts(self.tokenizer, self.prompts[:rows]),
            encode_responses(self.tokenizer, self.responses[:rows]),
        )


def planned(stages: Stages, recompute: bool = False, engine: str = "loop") -> Study:
    """The study that a bench stands for."""
    from goodhart.memory.architecture import architecture
    from goodhart.memory.items import Numbers
    from goodhart.memory.plan import Study, training

    bench, model = stages.bench, architecture(stages.policy)
    derived = training(stages.derived(recompute))
    return Study(
        policy=model,
        backbone=model,
        shared=True,
        members=MEMBERS,
        numbers=Numbers(stages.precision, "cpu"),
        offline=derived,
        reward=derived,
        online=derived,
        engine=engine,
        batch_size=bench.scored,
        prompt_tokens=bench.prompt,
        max_new_tokens=bench.response,
        prompts_per_step=bench.scored,
    )


def predicted(stages: Stages, recompute: bool = False, engine: str = "loop") -> dict[str, Stage]:
    """What the plan says of every stage of a bench."""
    from goodhart.memory.plan import plan

    return {stage.name: stage for stage in plan(planned(stages, recompute, engine))}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--shape", choices=sorted(BENCHES), required=True)
    args.add_argument("--precision", choices=("float32", "nf4"), required=True)
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    use_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        stages = Stages(Path(folder), BENCHES[args.shape], args.precision)
        runs: list[tuple[str, Stage, Callable[[], int]]] = [
            *((name, stage, getattr(stages, name)) for name, stage in predicted(stages).items()),
            *(
                (f"{name}, recomputing", stage, partial(getattr(stages, name), recompute=True))
                for name, stage in predicted(stages, recompute=True).items()
                if name in ("train_reward", "train_offline", "adapt_online")
            ),
            (
                "sample_reference, continuous batching",
                predicted(stages, engine="continuous")["sample_reference"],
                stages.sample_continuously,
            ),
        ]
        print("| stage | predicted, MiB | measured | ratio |\n|---|---:|---:|---:|")
        for label, stage, measure in runs:
            with redirect_stdout(sys.stderr):  # what the trainers say
                measured = measure() / 2**20
            said = stage.peak / 2**20
            print(f"| {label} | {said:.1f} | {measured:.1f} | {said / measured:.2f} |", flush=True)


if __name__ == "__main__":
    main()
