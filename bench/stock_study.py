r"""The pocket study as one straight script on stock trainers: what the workflow is timed against.

One process does one part after the other: pretraining with transformers' Trainer, rewards with trl's RewardTrainer,
offline training with its DPOTrainer, online adaptation with its RLOOTrainer, every response by `generate`. The sizes
are those of the study; the problems, the judge, Appendix C and the pure measures are the workflow's own. Each
replicate repeats all stages, or only the offline and online ones where the config redraws nothing. Writes
trajectory.parquet, probes.parquet, floor.parquet, runs.csv, quality.json and timings.json, the seconds of each stage.

Where it departs from the workflow, and why:

 - The warm-up of pretraining begins at a rate of 0, and norms have no weight decay.
 - Online, RLOO takes two responses a prompt at least: half the prompts an update, the same number of rows. Its
   baseline is the other response of the prompt; its KL penalty is linear, a part of the reward, and has the constant
   coefficient beta, as TRL has no Eq. 10. Advantages are normalised over the batch, as in Eq. 9. There is one update a
   generation, and dropout is off, so the clipped ratio is 1.
 - DPOTrainer and RewardTrainer tokenise anew in every run, and DPOTrainer computes the reference's log-probs itself.
 - Each reward is a model of its own, its adapter merged into it. Policies are sampled with their adapters unmerged, as
   RLOOTrainer samples them.
 - Random numbers differ in all stages, so figures agree with the workflow's in kind, not digit by digit.
 - Nothing is cached, resumed, checked or sealed; responses are not kept, and there are no fits,
   intervals over replicates, gates, figures and reports.

    python bench/stock_study.py --config config/config.yaml --threads 1 --output results/stock
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import psutil
import torch
import transformers
import yaml
from peft import PeftModel
from snakemake.utils import update_config
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, GenerationConfig
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, RLOOConfig, RLOOTrainer
from trl.trainer.utils import use_adapter

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from goodhart.analysis.gap import augc, gap, gap_paper, true_scale
from goodhart.analysis.replicates import t_interval
from goodhart.cli import parser, run
from goodhart.data import judge
from goodhart.data.preferences import HELD_OUT, finish_preferences
from goodhart.data.tasks import pools
from goodhart.data.tasks.registry import TASKS, task_of
from goodhart.errors import InputError
from goodhart.evaluation.probes import diversity, ood_distances
from goodhart.hyperparameters import appendix_c
from goodhart.hyperparameters.betas import beta_at, log_ratio_magnitudes, parse_level
from goodhart.models.adapters import lora_config
from goodhart.models.ensemble import quality, uncertainty, win_rate
from goodhart.models.logprobs import masked_mean
from goodhart.models.manifest import describe_model
from goodhart.models.tokens import Batch, collate, encode_pairs, encode_prompts, encode_responses
from goodhart.runtime.seeds import mix
from goodhart.study import REDRAWN_BY, Cell, all_levels, arms, cells, evaluation_seed, overrides, sampling, verifier_of
from goodhart.training.pretraining import Shape, build_model, build_tokenizer
from goodhart.verifiers.registry import verifier

Rows = Sequence[tuple[list[int], list[int]]]  # prompt and response, as token ids
SIDES = ("chosen", "rejected")
SHAPE = ("hidden_size", "layers", "heads", "kv_heads", "head_dim", "mlp_size")
# What the trainers would do otherwise is of no use to a small model on a CPU.
PLAIN = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "dataloader_pin_memory": False}
PLAIN |= {"save_strategy": "no", "logging_strategy": "no", "report_to": [], "disable_tqdm": True}


REDRAWN = {entry for entries in REDRAWN_BY.values() for entry in entries}


@dataclass
class Study:
    """What the stages of one replicate hand on to one another; `seconds` are those of all replicates."""

    config: dict[str, Any]
    folder: Path
    seconds: dict[str, float]
    replicate: int = 0
    tokenizer: Any = None
    problems: dict[str, tuple[list[str], list[str]]] = field(default_factory=dict)  # prompts and answers, by split
    corpus: list[tuple[str, str]] = field(default_factory=list)  # prompt and teacher's response
    pairs: dict[str, pd.DataFrame] = field(default_factory=dict)  # preferences, by split
    used: dict[str, dict[str, Any]] = field(default_factory=dict)  # Appendix C, by stage
    betas: dict[str, float] = field(default_factory=dict)
    rewards: list[Any] = field(default_factory=list)
    held_out: list[Any] = field(default_factory=list)  # reward models that no policy is trained against
    measured: dict[str, Any] = field(default_factory=dict)  # centroid, scales, rewards of the reference's responses

    def policy(self) -> Any:
        return AutoModelForCausalLM.from_pretrained(self.folder / "policy", dtype=torch.float32)

    def adapter(self, level: str, replicate: int) -> Path:
        return self.folder / "offline" / level / f"replicate-{replicate}"

    def seed(self, *section: str) -> int:
        """The seed of a section of the config in this replicate."""
        found: Any = self.config
        for name in section:
            found = found[name]
        return int(found["seed"]) + self.replicate

    def evaluation_seed(self) -> int:
        return evaluation_seed(self.config, self.replicate)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        print(f"{name}: {self.seconds[name]:.1f} s", file=sys.stderr, flush=True)


def make_problems(study: Study) -> None:
    """Problems by split and the teacher's corpus, as generate_problems makes them."""
    section = study.config["task"]
    sizes = section[section["source"]]
    task, rng = task_of(section["source"], sizes), np.random.default_rng(study.seed("task"))
    of_split = pools.split(task.items(), pools.SHARES, rng)
    counts = {split: section[f"{split}_problems"] for split in ("online", "evaluation")}
    for split, count in {"preference": sizes["preference_problems"], **counts}.items():
        items = pools.distinct(of_split[split], count)
        study.problems[split] = [task.prompt(item, rng) for item in items], [task.answer(item) for item in items]
    drawn = pools.draw(of_split["pretraining"], sizes["pretraining_examples"], rng)
    study.corpus = [(task.prompt(item, rng), task.teach(item, rng)) for item in drawn]


def pretrain(study: Study) -> None:
    """The policy, from nothing: loss on the responses alone."""
    sizes = study.config["policy"]["pretraining"]
    seed = study.seed("policy", "pretraining")
    torch.manual_seed(seed)
    study.tokenizer = build_tokenizer([text for pair in study.corpus for text in pair])
    study.tokenizer.padding_side = "left"
    model = build_model(study.tokenizer, Shape(*(sizes[name] for name in SHAPE)))
    settings = transformers.TrainingArguments(
        output_dir=str(study.folder / "trainer"),
        max_steps=sizes["steps"],
        per_device_train_batch_size=sizes["batch_size"],
        learning_rate=sizes["learning_rate"],
        lr_scheduler_type="cosine",
        warmup_steps=math.isqrt(sizes["steps"]),
        adam_beta1=0.9,
        adam_beta2=0.98,
        weight_decay=0.01,
        seed=seed,
        **PLAIN,
    )
    rows = encoded(study, *zip(*study.corpus, strict=True))
    dataset = [{"input_ids": [*asked, *given], "labels": [*[-100] * len(asked), *given]} for asked, given in rows]
    collator = transformers.DataCollatorForSeq2Seq(study.tokenizer)
    transformers.Trainer(model=model, args=settings, train_dataset=dataset, data_collator=collator).train()
    for part in (model, study.tokenizer):
        part.save_pretrained(study.folder / "policy")


def make_preferences(study: Study) -> None:
    """Two responses a prompt, between which the flawed judge chooses."""
    given, model, seed = study.config["preferences"], study.policy(), study.seed("preferences")
    prompts, answers = study.problems["preference"]
    first, second = (respond(study, model, prompts, mix(seed, draw))[1] for draw in range(2))
    scored = [judge.scores(texts, verify(study, texts, answers), **given["sampled"]) for texts in (first, second)]
    frame, _ = judge.choose(prompts, (first, second), (scored[0], scored[1]), seed)
    pairs, counts = finish_preferences(frame, seed, None, given["held_out_share"])
    study.pairs = {str(split): part.reset_index(drop=True) for split, part in pairs.groupby("split")}
    print(f"{counts['pairs']} pairs: {counts['pairs_by_split']}")


def derive(study: Study) -> None:
    """Appendix C for each stage, with the overrides of the config, as derive_hyperparameters makes it."""
    model, train = describe_model(study.folder / "policy"), study.pairs["train"]
    size = appendix_c.sample_size(len(train))
    sample = train.sample(n=size, random_state=study.seed("preferences"))
    pairs = encode_pairs(study.tokenizer, sample, max_length=sys.maxsize)
    for stage in ("reward", "offline", "online"):
        record = appendix_c.derive(
            **{name: model[name] for name in ("hidden_size", "parameters", "projections")},
            n=len(train),
            memory_gb=study.config["memory_gb"],
            token_counts=[len(p.prompt) + max(len(p.chosen), len(p.rejected)) for p in pairs if p],
            overrides=overrides(study.config, stage),
            **{name: study.config[stage][name] for name in ("steps", "epochs") if name in study.config[stage]},
        )
        study.used[stage] = appendix_c.values(record)


def find_betas(study: Study) -> None:
    """Eq. 6-7: the reference's log-probs of all training pairs, and the beta of every level."""
    chosen, rejected = (logprobs.double().numpy() for logprobs in pair_logprobs(study, study.policy(), "train"))
    for level in all_levels(study.config):
        kind, number = parse_level(level)
        deltas = log_ratio_magnitudes(chosen, rejected)
        study.betas[level] = beta_at(deltas, number) if kind == "percentile" else number


def train_rewards(study: Study) -> None:
    """K members, each on a bootstrap resample of its own, as models of their own; then those of the held-out pairs."""
    config, first = study.config["reward"], study.seed("reward")
    load = AutoModelForSequenceClassification.from_pretrained
    kinds = ((study.rewards, "train", config["members"]), (study.held_out, HELD_OUT, config["held_out"]))
    for models, split, member in ((models, split, k) for models, split, count in kinds for k in range(count)):
        train, seed = study.pairs[split], mix(first, member)
        picks = np.random.default_rng(seed).integers(len(train), size=len(train))
        transformers.set_seed(seed)
        trainer = RewardTrainer(
            model=load(study.folder / "policy", num_labels=1, dtype=torch.float32),
            args=RewardConfig(**arguments(study, "reward", seed), **epochs(study, "reward")),
            train_dataset=preferences(train.iloc[picks]),
            processing_class=study.tokenizer,
            peft_config=lora(study, "reward", "SEQ_CLS"),
        )
        trainer.train()
        models.append(trainer.model.merge_and_unload().eval().requires_grad_(False))


def evaluate_rewards(study: Study) -> None:
    """Quality on held-out pairs, scales of the gap, centroid of Eq. 12, rewards of the reference policy's responses."""
    test, train, seed = study.pairs["test"], study.pairs["train"], study.seed("evaluation")
    pairs = [encoded(study, test["prompt"], test[side]) for side in SIDES]
    record = quality(*(score(study, rows)[0] for rows in pairs))
    if study.held_out:
        record["held_out"] = quality(*(score(study, rows, study.held_out)[0] for rows in pairs))
    centre = train.sample(n=appendix_c.sample_size(len(train)), random_state=seed)
    prompts, answers = study.problems["evaluation"]
    rows, written = respond(study, study.policy(), prompts, study.evaluation_seed())
    right = sum(verify(study, written, answers))
    others, _ = respond(
        study, study.policy(), study.problems["online"][0][: len(prompts)], mix(study.evaluation_seed(), 0)
    )
    for models in filter(None, (study.rewards, study.held_out)):
        score(study, others, models)  # as the workflow, which calibrates the proxy on these problems
    study.measured = {
        "scales": (record["proxy_scale"], true_scale(right, len(answers))),
        "centroid": score(study, encoded(study, centre["prompt"], centre["chosen"]), embed=True)[1].mean(dim=0),
        "baseline": score(study, rows)[0].mean(dim=1),
        "member_means": torch.tensor(record["member_means"]),
    }
    study.measured["quality"] = record
    print(f"held-out accuracy of the reward models {record['member_accuracy']}, accuracy {right / len(answers):.3f}")


def train_offline(study: Study, level: str, replicate: int) -> Any:
    """One DPO adapter; returns the model that carries it."""
    trainer = DPOTrainer(
        model=study.policy(),
        args=DPOConfig(beta=study.betas[level], **arguments(study, "offline", replicate), **epochs(study, "offline")),
        train_dataset=preferences(study.pairs["train"]),
        processing_class=study.tokenizer,
        peft_config=lora(study, "offline", "CAUSAL_LM"),
    )
    trainer.train()
    trainer.model.save_pretrained(study.adapter(level, replicate))
    return trainer.model


def probe(study: Study, model: Any) -> dict[str, float]:
    """Measures of an offline checkpoint, the share of held-out pairs that it orders rightly, and its win rate."""
    measures, rewards = measure(study, model, None)
    now = pair_logprobs(study, model, "test")
    with use_adapter(model, None):
        gains = [after - before for after, before in zip(now, pair_logprobs(study, model, "test"), strict=True)]
    won = win_rate(rewards.mean(dim=1), study.measured["baseline"])
    return {**measures, "preference_accuracy": win_rate(*gains), "win_rate": won}


def resample(study: Study, model: Any) -> list[dict[str, float]]:
    """Proxy and accuracy of a checkpoint with other sampling seeds, for the noise floor."""
    (prompts, answers), rows = study.problems["evaluation"], []
    for number in range(1, study.config["evaluation"]["floor_seeds"] + 1):
        given, written = respond(study, model, prompts, mix(study.evaluation_seed(), number))
        proxy, true = score(study, given)[0].mean().item(), float(np.mean(verify(study, written, answers)))
        rows.append({"number": number, "proxy": proxy, "true": true})
    return rows


class Evaluations(transformers.TrainerCallback):
    """Evaluates at the start, every so many updates and at the end, and keeps a row each."""

    def __init__(self, evaluate: Callable[[Any], dict[str, float]], every: int) -> None:
        self.evaluate, self.every = evaluate, every
        self.rows: list[dict[str, float]] = []

    def on_train_begin(self, _args: Any, state: Any, _control: Any, model: Any = None, **_: Any) -> None:
        self.rows.append({"step": state.global_step, **self.evaluate(model)})

    def on_step_end(self, _args: Any, state: Any, _control: Any, model: Any = None, **_: Any) -> None:
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            self.rows.append({"step": state.global_step, **self.evaluate(model)})


def adapt_online(study: Study, cell: Cell) -> list[dict[str, Any]]:
    """RLOO from one DPO adapter, whose frozen copy is the reference; the rows of its trajectory."""
    config = study.config["online"]

    def mean_reward(prompts: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        rows = list(zip(encode_prompts(study.tokenizer, prompts), completion_ids, strict=True))
        return score(study, rows)[0].mean(dim=1).tolist()

    evaluations = Evaluations(lambda policy: measure(study, policy, "ref")[0], config["evaluate_every"])
    settings = RLOOConfig(
        **arguments(study, "online", cell.replicate),
        max_steps=config["steps"],
        per_device_train_batch_size=config["prompts_per_step"],  # rows: one generation, and one update
        num_generations=2,
        max_completion_length=study.config["sampling"]["max_new_tokens"],
        beta=study.betas[cell.kl_level],
        normalize_advantages=True,
        disable_dropout=True,  # the policy that is updated is the one that was sampled
        lr_scheduler_type="constant_with_warmup",
    )
    trainer = RLOOTrainer(
        model=PeftModel.from_pretrained(study.policy(), study.adapter(cell.level, cell.replicate), is_trainable=True),
        reward_funcs=mean_reward,
        args=settings,
        train_dataset=datasets.Dataset.from_dict({"prompt": study.problems["online"][0]}),
        processing_class=study.tokenizer,
        callbacks=[evaluations],
    )
    trainer.train()
    of = {**cell._asdict(), "beta": study.betas[cell.level], "kl_beta": study.betas[cell.kl_level]}
    return [{**of, **row} for row in evaluations.rows]


def tabulate(studies: dict[int, Study], folder: Path, trajectory: list[dict[str, Any]]) -> None:
    """Both gaps of every evaluation, both AUGC of every run, mean and standard error of every level."""
    key, parts, runs = list(Cell._fields), [], []
    for cell, part in pd.DataFrame(trajectory).groupby(key, sort=False):
        series = part["proxy"].to_numpy(), part["true"].to_numpy()
        scales = studies[int(part["replicate"].iloc[0])].measured["scales"]
        part = part.assign(gap=gap(*series, *scales), gap_paper=gap_paper(*series))
        areas = {name.replace("gap", "augc"): augc(part["step"], part[name]) for name in ("gap", "gap_paper")}
        ends = {"true_start": part["true"].iloc[0], "true_end": part["true"].iloc[-1]}
        parts.append(part)
        runs.append({**dict(zip(key, cell, strict=True)), "beta": part["beta"].iloc[0], **areas, **ends})
    pd.concat(parts, ignore_index=True).to_parquet(folder / "trajectory.parquet", index=False)
    by_run = pd.DataFrame(runs).set_index(key)
    by_run.to_csv(folder / "runs.csv")
    config = next(iter(studies.values())).config
    for arm in arms(config):
        print(f"\n{arm}: level, AUGC and its standard error, accuracy at the start and at the end, replicates")
        for level, part in by_run.loc[cells(config, arm)].groupby("level", sort=False):
            found, truth = t_interval(part["augc"]), part[["true_start", "true_end"]].mean()
            print(f"  {level} {found['mean']:.2f} {found['se'] or math.nan:.2f}", *truth.round(3), found["n"])


@torch.no_grad()
def measure(study: Study, model: Any, reference: str | None) -> tuple[dict[str, float], torch.Tensor]:
    """The workflow's measures of the active adapter on the evaluation problems, and every member's rewards.

    `reference` is the adapter that the KL is to; None: the bare policy.
    """
    prompts, answers = study.problems["evaluation"]
    rows, written = respond(study, model, prompts, study.evaluation_seed())
    rewards, embeddings = score(study, rows, embed=True)
    logprobs, entropies = read(study, model, rows)
    ratios = {}
    for name in dict.fromkeys((reference, None)):
        with use_adapter(model, name):
            ratios[name] = logprobs - read(study, model, rows)[0]
    right = verify(study, written, answers)
    few, proxy = appendix_c.sample_size(len(rows)), rewards.mean(dim=1)
    asked = read(study, model, [(ids[:1], ids[1:]) for ids, _ in rows[:few]])[1]
    measures = {
        "n": len(rows),
        "proxy": proxy.mean().item(),
        "proxy_se": proxy.std().item() / math.sqrt(len(rows)),
        "true": float(np.mean(right)),
        "true_flexible": float(np.mean(verify(study, written, answers, "flexible"))),
        "uncertainty": uncertainty(rewards).mean().item(),
        "uncertainty_centred": uncertainty(rewards - study.measured["member_means"]).mean().item(),
        "kl": ratios[reference].mean().item(),
        "kl_reference": ratios[None].mean().item(),
        "entropy_prompt": asked.mean().item(),
        "entropy_response": entropies[:few].mean().item(),
        "ood_distance": ood_distances(embeddings, study.measured["centroid"]).mean().item(),
        "diversity": diversity(embeddings),
        "response_tokens": float(np.mean([len(ids) for _, ids in rows])),
        "truncated": float(np.mean([ids[-1] != study.tokenizer.eos_token_id for _, ids in rows])),
        "empty": float(np.mean([not text.strip() for text in written])),
        "judge": float(judge.scores(written, right, **study.config["preferences"]["sampled"]).mean()),
    }
    if study.held_out:
        measures["held_out"] = score(study, rows, study.held_out)[0].mean().item()
    return measures, rewards


@torch.no_grad()
def respond(study: Study, model: Any, prompts: list[str], seed: int) -> tuple[Rows, list[str]]:
    """One response a prompt at temperature 1, as token ids up to the end token, where that came, and as text."""
    tokenizer, size = study.tokenizer, sampling(study.config)["batch_size"]
    limit, end = study.config["sampling"]["max_new_tokens"], tokenizer.eos_token_id
    how = GenerationConfig(do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=limit)
    how.eos_token_id, how.pad_token_id = end, tokenizer.pad_token_id
    model.eval()
    responses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for start in range(0, len(prompts), size):
            asked = tokenizer(prompts[start : start + size], padding=True, return_tensors="pt")
            ids, mask = asked["input_ids"], asked["attention_mask"]
            drawn = model.generate(input_ids=ids, attention_mask=mask, generation_config=how)
            responses += [row[: row.index(end) + 1] if end in row else row for row in drawn[:, ids.shape[1] :].tolist()]
    rows = list(zip(encode_prompts(tokenizer, prompts), responses, strict=True))
    return rows, tokenizer.batch_decode(responses, skip_special_tokens=True)


@torch.no_grad()
def read(study: Study, model: Any, rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-prob of each response under a policy, and the mean entropy of its tokens: (rows,) each, in nats."""
    model.eval()
    logprobs, entropies = torch.empty(len(rows)), torch.empty(len(rows))
    for picks, batch in batches(study, rows, study.used["offline"]["inference_batch_size"]):
        width = batch.response_mask.shape[1]
        output = model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False, logits_to_keep=width + 1)
        table = output.logits[:, :-1].log_softmax(-1)
        taken = table.gather(-1, batch.ids[:, -width:, None]).squeeze(-1)
        logprobs[picks] = (taken * batch.response_mask).sum(-1)
        entropies[picks] = masked_mean(-(table.exp() * table).sum(-1), batch.response_mask)
    return logprobs, entropies


def pair_logprobs(study: Study, model: Any, split: str) -> list[torch.Tensor]:
    """Log-probs of the chosen and of the rejected responses of a split: (pairs,) each."""
    pairs = [p for p in encode_pairs(study.tokenizer, study.pairs[split], study.used["offline"]["max_length"]) if p]
    return [read(study, model, [(pair.prompt, getattr(pair, side)) for pair in pairs])[0] for side in SIDES]


@torch.no_grad()
def score(
    study: Study, rows: Rows, models: list[Any] | None = None, embed: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Every member's reward (rows, K), and with `embed` member 0's mean hidden state over each response (Eq. 12).

    `models` are other reward models than the members.
    """
    models = models or study.rewards
    rewards = torch.empty(len(rows), len(models))
    embeddings = torch.empty(len(rows), study.rewards[0].config.hidden_size)
    for picks, batch in batches(study, rows, study.used["reward"]["inference_batch_size"]):
        mask = batch.response_mask
        for k, model in enumerate(models):
            wanted = embed and k == 0
            output = model(batch.ids, batch.mask, use_cache=False, output_hidden_states=wanted)
            rewards[picks, k] = output.logits.squeeze(-1)
            if wanted:
                states = output.hidden_states[-2][:, -mask.shape[1] :]
                embeddings[picks] = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return rewards, embeddings


def batches(study: Study, rows: Rows, size: int) -> Iterator[tuple[list[int], Batch]]:
    """Rows of like length together: their numbers, and they themselves padded."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]) + len(rows[i][1]))
    for start in range(0, len(rows), size):
        picks = order[start : start + size]
        yield picks, collate(*zip(*(rows[i] for i in picks), strict=True), pad=study.tokenizer.pad_token_id)


def encoded(study: Study, prompts: Sequence[str], responses: Sequence[str]) -> Rows:
    """Texts as rows of token ids."""
    ids = encode_prompts(study.tokenizer, list(prompts)), encode_responses(study.tokenizer, list(responses))
    return list(zip(*ids, strict=True))


def verify(study: Study, responses: list[str], answers: list[str], style: str = "strict") -> list[bool]:
    """Whether each answer is right."""
    check = verifier(verifier_of(study.config))
    return [check(response, answer, style) for response, answer in zip(responses, answers, strict=True)]


def arguments(study: Study, stage: str, seed: int) -> dict[str, Any]:
    """What every trainer of trl is given."""
    used = study.used[stage]
    derived = {name: used[name] for name in ("learning_rate", "weight_decay", "warmup_steps")}
    return {
        **PLAIN,
        **derived,
        "max_grad_norm": used["clip_norm"],
        "seed": seed,
        "output_dir": study.folder / "trainer",
    }


def epochs(study: Study, stage: str) -> dict[str, Any]:
    """What the two offline trainers are given besides; dropout stays on, which TRL would turn off."""
    batch, length = (study.used[stage][name] for name in ("batch_size", "max_length"))
    sizes = {"num_train_epochs": study.config[stage]["epochs"], "per_device_train_batch_size": batch}
    return {**sizes, "max_length": length, "disable_dropout": False}


def lora(study: Study, stage: str, task: str) -> Any:
    return lora_config(*(study.used[stage][f"lora_{name}"] for name in ("rank", "alpha", "dropout")), task)


def preferences(pairs: pd.DataFrame) -> datasets.Dataset:
    return datasets.Dataset.from_pandas(pairs[["prompt", *SIDES]], preserve_index=False)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    args = parser(__doc__)
    args.add_argument("--config", type=Path, nargs="+", required=True, help="a later file overrides an earlier one")
    args.add_argument("--output", type=Path, required=True, help="folder, which must not exist yet")
    args.add_argument("--threads", type=int, help="torch's threads; its own number where none is given")
    return args.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    imports = time.time() - psutil.Process().create_time()
    args = parse_args(argv)
    config: dict[str, Any] = {}
    for path in args.config:
        update_config(config, yaml.safe_load(path.read_text()))
    if config["task"]["source"] not in TASKS or config["policy"]["model"] or config["methods"] != ["dpo"]:
        raise InputError("this script knows embedded tasks, the embedded policy and DPO only; change the config.")
    redraw = set(config["redraw"])
    if redraw not in (set(), REDRAWN) or config["preferences"]["source"] != "sampled":
        raise InputError("this script redraws all stages or none, with sampled preferences; change redraw or source.")
    if args.output.exists():
        raise InputError(f"{args.output} exists; name another folder.")
    if args.threads:
        torch.set_num_threads(args.threads)
    for library in (transformers.logging, datasets.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    args.output.mkdir(parents=True)
    stages = (make_problems, pretrain, make_preferences, derive, find_betas, train_rewards, evaluate_rewards)
    studies: dict[int, Study] = {}
    seconds = {"imports": imports}
    for replicate in config["replicates"]:
        if redraw or not studies:
            number = replicate if redraw else 0
            study = Study(config, args.output / f"replicate-{number}", seconds, number)
            study.folder.mkdir()
            for stage in stages:
                with study.stage(stage.__name__):
                    stage(study)
        studies[replicate] = study
    probes, floors, trajectory = [], [], []
    for level in config["levels"]:
        for replicate, study in studies.items():
            with study.stage("train_offline"):
                model = train_offline(study, level, replicate)
            with study.stage("probe"):
                of = {"method": "dpo", "level": level, "beta": study.betas[level], "replicate": replicate}
                probes.append({**of, **probe(study, model)})
                floors += [{**of, **row} for row in resample(study, model)]
    for cell in cells(config):
        with study.stage("adapt_online"):
            trajectory += adapt_online(studies[cell.replicate], cell)
    with study.stage("tabulate"):
        pd.DataFrame(probes).to_parquet(args.output / "probes.parquet", index=False)
        pd.DataFrame(floors).to_parquet(args.output / "floor.parquet", index=False)
        qualities = [study.measured["quality"] for study in studies.values()]
        (args.output / "quality.json").write_text(json.dumps({"replicates": qualities}, indent=2))
        tabulate(studies, args.output, trajectory)
    seconds["total"] = sum(seconds.values())
    timings = json.dumps(seconds, indent=2)
    (args.output / "timings.json").write_text(timings)
    print(timings)


if __name__ == "__main__":
    run(main)
