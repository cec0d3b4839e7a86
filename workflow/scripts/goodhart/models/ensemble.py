"""The reward ensemble: K LoRA adapters and K heads on one frozen backbone (Eq. 5 and 13)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file

from goodhart.errors import InputError
from goodhart.models.adapters import activate, base_of, check_finite
from goodhart.models.decoder import decoder_of
from goodhart.models.loading import load_reward_backbone, load_tokenizer
from goodhart.models.manifest import check_adapter, same_weights
from goodhart.models.tokens import Batch, Row, batches_by_length, collate, encode_prompts, encode_responses
from goodhart.runtime.types import PeftModel, PreTrainedModel, PreTrainedTokenizerBase


class Scores(NamedTuple):
    """Scores of the ensemble: rewards (rows, K) and embeddings (rows, hidden), float32 on the CPU.

    An embedding (Eq. 12) is the mean of member 0's `hidden_states[-2]` over the response tokens. `truncated` (rows,) is
    true if prompt and response exceed the `max_length` of the reward models, which then see only a part.
    """

    rewards: torch.Tensor
    embeddings: torch.Tensor
    truncated: torch.Tensor


class RewardEnsemble:
    """K reward models, the members, on one backbone, which may be the base of the policy.

    Attributes:
        model: the backbone with an adapter `<name>-<k>` for each member.
        heads: the score heads of the members, (K, hidden) float32.
    """

    def __init__(
        self,
        backbone: PreTrainedModel | PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        members: Sequence[Path],
        batch_size: int,
        max_length: int,
        name: str = "member",
    ) -> None:
        self.tokenizer, self.name = tokenizer, name
        self.batch_size = batch_size
        self.max_length = max_length
        heads = []
        for k, folder in enumerate(members):
            backbone, head = _attach_member(backbone, folder, f"{name}-{k}")
            heads.append(head)
        self.model = backbone
        self.heads = torch.cat(heads).float().to(next(backbone.parameters()).device)

    def beside(self, members: Sequence[Path], name: str) -> "RewardEnsemble":
        """Another ensemble on the same backbone, with adapters `<name>-<k>`."""
        return RewardEnsemble(self.model, self.tokenizer, members, self.batch_size, self.max_length, name)

    @torch.no_grad()
    def score(self, prompts: Sequence[str], responses: Sequence[str], finished: Sequence[bool] | None = None) -> Scores:
        """Rewards of all members, and the embedding by member 0, for each (prompt, response).

        Args:
            finished: whether each response ended with an end token or stop string; unfinished ones get no end token.
        """
        response_ids = encode_responses(self.tokenizer, responses)
        if finished is not None:
            response_ids = [ids if end else ids[:-1] for ids, end in zip(response_ids, finished, strict=True)]
        rows = list(zip(encode_prompts(self.tokenizer, prompts), response_ids, strict=True))
        scored = batches_by_length(self._score_batch, rows, self.batch_size, "ensemble scoring")
        rewards, embeddings = (torch.stack(part) for part in zip(*scored, strict=True))
        lengths = torch.tensor([len(prompt) + len(response) for prompt, response in rows])
        return Scores(rewards, embeddings, lengths > self.max_length)

    def _score_batch(self, rows: Sequence[Row]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Rewards (K,) and embedding (hidden,) of each row of one batch."""
        batch = collate(
            [prompt[-self.max_length + 1 :] for prompt, _ in rows],
            [response[: max(1, self.max_length - len(prompt))] for prompt, response in rows],
            pad=self.tokenizer.pad_token_id,
            device=self.heads.device,
        )
        last = batch.ids.shape[1] - 1 - batch.mask.flip(1).argmax(dim=1)  # the last token before padding
        rewards = []
        embeddings = torch.empty(0)
        for k, head in enumerate(self.heads):
            states = self._hidden_states(batch, k)
            rewards.append(states[-1][torch.arange(len(last)), last].float() @ head)
            if k == 0:
                weights = batch.response_mask.float()
                weights = weights / weights.sum(-1, keepdim=True).clamp(min=1)
                embeddings = (states[-2][:, -weights.shape[1] :].float() * weights.unsqueeze(-1)).sum(1)
        # We return copies, since sending a view to another process would send the whole batch.
        scored = zip(torch.stack(rewards, dim=1).cpu(), embeddings.cpu(), strict=True)
        return [(reward.clone(), embedding.clone()) for reward, embedding in scored]

    def _hidden_states(self, batch: Batch, member: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states before the last layer and after the final norm: (rows, width, hidden) each."""
        activate(self.model, f"{self.name}-{member}")
        if (decoder := decoder_of(self.model)) is not None:
            return decoder.states(batch)
        output = self.model.base_model.model.model(
            input_ids=batch.ids,
            attention_mask=batch.mask,
            position_ids=batch.positions,
            use_cache=False,
            output_hidden_states=member == 0,
        )
        penultimate = output.hidden_states[-2] if member == 0 else output.last_hidden_state
        return penultimate, output.last_hidden_state


def load_with_policy(
    policy: PeftModel,
    policy_folder: Path,
    backbone_folder: Path,
    precision: str,
    members: Sequence[Path],
    used: Mapping[str, Any],
) -> RewardEnsemble:
    """The ensemble for responses of `policy`, on the policy's base if backbone and policy have the same weights.

    `used` are the derived values of the reward stage.
    """
    return RewardEnsemble(
        policy if same_weights(policy_folder, backbone_folder) else load_reward_backbone(backbone_folder, precision),
        load_tokenizer(backbone_folder),
        members,
        used["inference_batch_size"],
        used["max_length"],
    )


def uncertainty(rewards: torch.Tensor) -> torch.Tensor:
    """Eq. 13: standard deviation over members (ddof = 1); rewards (rows, K) -> (rows,), 0 if K is 1."""
    return rewards.std(dim=1, correction=1) if rewards.shape[1] > 1 else torch.zeros(len(rewards))


def win_rate(rewards: torch.Tensor, baseline: torch.Tensor | float) -> float:
    """Share of rows whose reward exceeds the baseline's for the same prompt; a tie counts one half."""
    return ((rewards > baseline).double() + 0.5 * (rewards == baseline).double()).mean().item()


def quality(chosen: torch.Tensor, rejected: torch.Tensor) -> dict[str, Any]:
    """How well the reward models order held-out pairs; `chosen` and `rejected` are rewards, (pairs, K).

    Returns accuracies (a tie counts one half); log-loss and calibration of the ensemble mean; the latter's mean and SD
    over all held-out responses; the mean uncertainty; and the mean reward of each member. The SD scales the proxy in
    the Goodhart gap. Calibration compares, in ten bins, the predicted probability that a response is chosen with the
    observed frequency, over both responses of each pair.
    """
    margin = (chosen - rejected).double()
    mean = margin.mean(dim=1)
    predicted = torch.sigmoid(torch.cat([mean, -mean]))
    outcome = torch.cat([torch.ones_like(mean), torch.zeros_like(mean)])
    bins = (predicted * 10).long().clamp(max=9)
    calibration = [
        {
            "predicted": predicted[bins == b].mean().item(),
            "observed": outcome[bins == b].mean().item(),
            "n": int((bins == b).sum()),
        }
        for b in range(10)
        if (bins == b).any()
    ]
    everything = torch.cat([chosen, rejected]).double()
    return {
        "pairs": len(mean),
        "member_accuracy": [win_rate(column, 0.0) for column in margin.T],
        "ensemble_accuracy": win_rate(mean, 0.0),
        "ensemble_log_loss": torch.nn.functional.softplus(-mean).mean().item(),
        "calibration": calibration,
        "proxy_mean": everything.mean().item(),
        "proxy_scale": everything.mean(dim=1).std(correction=1).item(),
        "uncertainty": uncertainty(everything).mean().item(),
        "member_means": everything.mean(dim=0).tolist(),
    }


def _attach_member(backbone: PreTrainedModel | PeftModel, folder: Path, name: str) -> tuple[PeftModel, torch.Tensor]:
    """Add the LoRA weights of one member to the backbone; returns the backbone and the member's head, (1, hidden)."""
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

    check_adapter(folder, backbone.manifest)
    state = load_file(folder / "adapter_model.safetensors")
    check_finite(state, folder)
    heads = [key for key in state if key.endswith("score.weight")]
    if len(heads) != 1:
        raise InputError(f"{folder} has no score head; train it with task_type SEQ_CLS and modules_to_save ['score'].")
    head = state.pop(heads[0])
    config = LoraConfig.from_pretrained(str(folder))
    # Without the head, the member fits on any backbone, including the base of the policy.
    config.modules_to_save, config.task_type, config.inference_mode = None, None, True
    if base_of(backbone) is not backbone:
        backbone.add_adapter(name, config)
    else:
        backbone = get_peft_model(backbone, config, adapter_name=name)
    try:
        loaded = set_peft_model_state_dict(backbone, state, adapter_name=name)
    except RuntimeError as error:
        raise InputError(f"{folder} was trained on another backbone: the shapes of its weights differ.") from error
    absent = [key for key in loaded.missing_keys if f".{name}." in key]
    if loaded.unexpected_keys or absent:
        raise InputError(f"{folder} was trained on another backbone: {[*loaded.unexpected_keys, *absent][0]} differs.")
    return backbone.eval(), head
