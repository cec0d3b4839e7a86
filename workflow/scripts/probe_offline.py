r"""Probe one offline checkpoint: entropy (Eq. 11), OOD distance (Eq. 12), diversity, preference accuracy, win rate.

Preference accuracy is the share of held-out pairs that DPO's implicit reward orders correctly. The win rate is the
share of problems where the ensemble scores the policy's response higher than that of the reference policy; where they
are known, the held-out reward models and the judge give two further win rates.

    python workflow/scripts/probe_offline.py --adapter adapter --metrics metrics.json --policy policy \
        --backbone policy --precision float32 --members member-0/adapter member-1/adapter \
        --quality quality.json --centroid centroid.safetensors --baseline baseline.parquet \
        --preferences preferences.parquet --logprobs logprobs.parquet \
        --derived-offline offline.json --derived-reward reward.json --problems problems.parquet \
        --verifier gsm8k --max-new-tokens 48 --batch-size 192 --engine auto \
        --evaluation-seed 1 --floor-seeds 4 --threads 1 --probe probe.parquet --responses responses.parquet \
        --floor floor.parquet
"""

from dataclasses import dataclass

from goodhart.cli import Output, flag, run
from goodhart.evaluation.flags import EvaluationFlags
from goodhart.runtime.finite import dump_on_nan
from goodhart.runtime.types import Frame, Record
from goodhart.store.files import write_table
from goodhart.store.flags import record, table
from goodhart.store.schemas.inputs import BASELINE, LOGPROBS, PREFERENCES, PROBLEMS
from goodhart.store.schemas.measurements import FLOOR, OFFLINE_RESPONSES, PROBE


@dataclass(frozen=True, kw_only=True)
class Arguments(EvaluationFlags):
    problems: Frame = table(PROBLEMS, "evaluation")
    baseline: Frame = table(BASELINE)
    preferences: Frame = table(PREFERENCES)
    logprobs: Frame = table(LOGPROBS, "test")
    derived_offline: Record = record("values")
    floor_seeds: int = flag(help="further sampling seeds, whose evaluations give the noise floor of AUGC")
    probe: Output
    responses: Output
    floor: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    given.origin.verify(given.raw.logprobs, "score_reference", ["policy", "preferences"], ["max_length", "precision"])
    given.verify()
    import pandas as pd
    import torch

    from goodhart.evaluation.probes import Evaluator, preference_accuracy
    from goodhart.hyperparameters.appendix_c import values
    from goodhart.models.ensemble import win_rate
    from goodhart.runtime.seeds import mix

    used = values(given.derived_offline)
    evaluator = Evaluator.load(given, given.problems, used["inference_batch_size"])
    pairs = given.logprobs.merge(given.preferences.drop(columns="split"), on="pair_id")
    baseline = given.problems[["problem_id"]].merge(given.baseline, on="problem_id", how="left", validate="one_to_one")
    with dump_on_nan(given.probe.with_suffix(".stopped.json"), given.evaluation_seed):
        measures, responses = evaluator.evaluate(None)
        seeds = [mix(given.evaluation_seed, number) for number in range(1, given.floor_seeds + 1)]
        resampled = [evaluator.resample(seed) for seed in seeds]
        accuracy = preference_accuracy(
            evaluator.model, evaluator.tokenizer, pairs, used["max_length"], evaluator.batch_size
        )
    # The mean in the precision of the baseline, or the same response might win or lose by rounding.
    judged = {"win_rate": torch.tensor(responses["rewards"]).mean(dim=1).tolist()}
    judged |= {f"{name}_win_rate": responses[name] for name in ("held_out", "judge") if name in responses}
    columns = {"win_rate": "proxy", "held_out_win_rate": "held_out", "judge_win_rate": "judge"}
    won = {
        name: win_rate(torch.tensor(scores, dtype=torch.double), torch.tensor(baseline[columns[name]].to_numpy(float)))
        for name, scores in judged.items()
    }
    run = {name: given.metrics[name] for name in ("method", "level", "beta", "replicate")}
    write_table(given.probe, [{**run, **measures, "preference_accuracy": accuracy, **won}], PROBE, given.origin)
    write_table(given.responses, pd.DataFrame(responses).assign(**run), OFFLINE_RESPONSES, given.origin)
    floor = [{**run, "number": k, "proxy": proxy, "true": true} for k, (proxy, true) in enumerate(resampled, 1)]
    write_table(
        given.floor,
        floor or [{**run, "number": 0, "proxy": measures["proxy"], "true": measures["true"]}],
        FLOOR,
        given.origin,
    )


if __name__ == "__main__":
    run(main)
