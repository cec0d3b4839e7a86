r"""Evaluate the reward ensemble on held-out pairs, and compute inputs of all probes.

These inputs are the scale of the proxy (its SD over held-out responses), the centroid of Eq. 12, and the rewards of the
reference policy's responses, which are the baseline of all win rates.

    python workflow/scripts/evaluate_rewards.py --members member-0/adapter member-1/adapter --preferences \
        preferences.parquet --backbone policy --precision float32 --derived derived/reward.json --responses \
        reference/responses.parquet --seed 0 --threads 1 --quality quality.json \
        --centroid centroid.safetensors --baseline baseline.parquet
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from goodhart.cli import Output, flag, run
from goodhart.models.flags import ModelFlags
from goodhart.models.manifest import check_adapters
from goodhart.runtime.finite import Watched, dump_on_nan
from goodhart.runtime.threads import use_threads
from goodhart.runtime.types import Frame, Record
from goodhart.store.files import write_json, write_table, write_tensors
from goodhart.store.flags import record, table
from goodhart.store.schemas.inputs import BASELINE, PREFERENCES, RESPONSES


@dataclass(frozen=True, kw_only=True)
class Arguments(ModelFlags):
    members: list[Path]
    held_out: list[Path] = flag(default=(), help="reward models that no policy is trained against")
    preferences: tuple[Frame, Frame] = table(PREFERENCES, "test", "train")
    backbone: Path
    derived: Record = record("values", help="derived/reward.json")
    responses: Frame = table(RESPONSES, help="the reference policy's responses")
    correct_weight: float | None = flag(default=None, help="of the judge that labelled the pairs, if known")
    filler_weight: float | None = flag(default=None, help="of the same judge")
    seed: int = flag(help="seed for drawing the responses that define the centroid")
    quality: Output
    centroid: Output
    baseline: Output


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    check_adapters(given.backbone, [*given.members, *given.held_out])
    for member in [*given.members, *given.held_out]:
        given.origin.verify(member, "train_reward", ["backbone", "preferences"])
    use_threads(given.threads)
    from goodhart.data import judge
    from goodhart.hyperparameters.appendix_c import sample_size, values
    from goodhart.models.ensemble import RewardEnsemble, quality, uncertainty
    from goodhart.models.loading import load_reward_backbone, load_tokenizer

    backbone, tokenizer = load_reward_backbone(given.backbone, given.precision), load_tokenizer(given.backbone)
    used, (held_out, train) = values(given.derived), given.preferences
    ensemble = RewardEnsemble(backbone, tokenizer, given.members, used["inference_batch_size"], used["max_length"])
    train = train.sample(n=sample_size(len(train)), random_state=given.seed)
    with dump_on_nan(given.quality.with_suffix(".stopped.json"), given.seed):
        chosen, rejected = (score(ensemble, held_out, side).rewards for side in ("chosen", "rejected"))
        embeddings = score(ensemble, train, "chosen").embeddings
        rewards = score(ensemble, given.responses, "response").rewards
        found, known = quality(chosen, rejected), {}
        if given.held_out:
            others = ensemble.beside(given.held_out, "held-out")
            found["held_out"] = quality(*(score(others, held_out, side).rewards for side in ("chosen", "rejected")))
            known["held_out"] = score(others, given.responses, "response").rewards.mean(dim=1).double().numpy()
    if given.correct_weight is not None and given.filler_weight is not None:
        texts, correct = (given.responses[name].tolist() for name in ("response", "correct"))
        known["judge"] = judge.scores(texts, correct, given.correct_weight, given.filler_weight)
        known["style"] = judge.styles(texts)
        labelled = held_out[["chosen_score", "rejected_score"]].to_numpy(dtype=float)
        found["judge_scale"] = float(labelled.std(ddof=1))
    write_json(given.quality, {**found, "centroid_responses": len(train)}, given.origin)
    write_tensors(given.centroid, {"centroid": embeddings.mean(dim=0)}, given.origin)
    baseline = given.responses[["problem_id"]].assign(
        proxy=rewards.mean(dim=1).double().numpy(),
        uncertainty=uncertainty(rewards).double().numpy(),
        rewards=rewards.tolist(),
        **dict.fromkeys(("held_out", "judge", "style")) | known,
    )
    write_table(given.baseline, baseline, BASELINE, given.origin)


def score(ensemble: Any, rows: Frame, column: str) -> Any:
    """The ensemble's `Scores` of the responses in a column; `NotFinite` if any score is NaN or infinite."""
    prompts, responses = rows["prompt"].tolist(), rows[column].tolist()
    scores = ensemble.score(prompts, responses, rows["finished"].tolist() if column == "response" else None)
    watched = Watched("ensemble scoring", prompt=prompts, response=responses)
    watched.add("reward", scores.rewards)
    watched.add("embedding", scores.embeddings)
    return scores


if __name__ == "__main__":
    run(main)
