r"""Probe one offline checkpoint: entropy (Eq. 11), OOD distance (Eq. 12), diversity, preference accuracy, win rate.

Preference accuracy is the share of held-out pairs that DPO's implicit reward orders correctly. The win rate is the
share of problems where the ensemble scores the policy's response higher than that of the reference policy.

    python workflow/scripts/probe_offline.py --adapter adapter --metrics metrics.json --policy policy \
        --backbone policy --precision float32 --members member-0/adapter member-1/adapter \
        --centroid centroid.safetensors --baseline baseline.parquet --preferences preferences.parquet \
        --logprobs logprobs.parquet --derived-offline offline.json --derived-reward reward.json \
        --problems problems.parquet --verifier gsm8k --max-new-tokens 48 --batch-size 192 --engine auto \
        --evaluation-seed 1 --threads 1 --probe probe.parquet
"""

from dataclasses import dataclass

from goodhart.cli import Output, run
from goodhart.evaluation.flags import EvaluationFlags
from goodhart.runtime.finite import dump_on_nan
from goodhart.runtime.types import Frame, Record
from goodhart.store.files import write_table
from goodhart.store.flags import record, table
from goodhart.store.schemas.inputs import BASELINE, LOGPROBS, PREFERENCES, PROBLEMS
from goodhart.store.schemas.measurements import PROBE


@dataclass(frozen=True, kw_only=True)
class Arguments(EvaluationFlags):
    problems: Frame = table(PROBLEMS, "evaluation")
    baseline: Frame = table(BASELINE)
    preferences: Frame = table(PREFERENCES)
    logprobs: Frame = table(LOGPROBS, "test")
    derived_offline: Record = record("values")
    probe: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    given.origin.verify(given.raw.logprobs, "score_reference", ["policy", "preferences"], ["max_length", "precision"])
    given.verify()
    import torch

    from goodhart.evaluation.probes import Evaluator, preference_accuracy
    from goodhart.hyperparameters.appendix_c import values
    from goodhart.models.ensemble import win_rate

    used = values(given.derived_offline)
    evaluator = Evaluator.load(given, given.problems, used["inference_batch_size"])
    pairs = given.logprobs.merge(given.preferences.drop(columns="split"), on="pair_id")
    baseline = given.problems[["problem_id"]].merge(given.baseline, on="problem_id", how="left", validate="one_to_one")
    with dump_on_nan(given.probe.with_suffix(".stopped.json"), given.evaluation_seed):
        measures, _, rewards = evaluator.evaluate(None)
        accuracy = preference_accuracy(
            evaluator.model, evaluator.tokenizer, pairs, used["max_length"], evaluator.batch_size
        )
    row = {
        **{name: given.metrics[name] for name in ("method", "level", "beta", "seed")},
        **measures,
        "preference_accuracy": accuracy,
        "win_rate": win_rate(rewards.double(), torch.tensor(baseline["proxy"].to_numpy())),
    }
    write_table(given.probe, [row], PROBE, given.origin)


if __name__ == "__main__":
    run(main)
