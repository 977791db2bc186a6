"""The same batch through TRL's own GRPO code and through ours: advantages, loss and gradient.

TRL's trainer generates, scores and computes its loss on a tiny Llama; our parts get the same tokens, rewards
and log-probabilities. Every case states the options that make both alike. What TRL does otherwise: eps 1e-4
beside the std (ours 0); no verdict is advantage 0 (ours NaN, loss 0); truncated completions leave the loss
but stay in the denominator of grpo and dr_grpo (ours over="all"); equal rewards leave a residue (ours 0); the
KL beside a sequence ratio is weighted by that ratio (ours by the token's, so the plain KL is compared).

    B completions   T longest completion
"""

import json
import math
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

from oneloop.core.rollouts import Actions, Rollouts
from oneloop.credit.group_relative import GroupRelative
from oneloop.update.averaging import action_weights
from oneloop.update.objective.kl import Kl
from oneloop.update.objective.policy_gradient import PolicyGradient

RESULT = Path(__file__).parent / "results" / "parity_trl.json"
BOUND = 1e-5
GROUPS, PER_GROUP, LONGEST = 3, 4, 12
REWARDS = [0.1, 0.7, 0.35, None, 1.0, 0.0, 0.0, 0.25, 0.6, 0.61, 0.62, 0.9]


@dataclass
class Case:
    """TRL's options and ours for one and the same loss."""

    name: str
    trl: dict
    objective: PolicyGradient
    credit: GroupRelative = field(default_factory=lambda: GroupRelative(eps=1e-4))
    kl: Kl | None = None
    corrected: bool = False


def cases() -> list[Case]:
    """Every loss both can compute."""
    constant = {"mean": "constant", "constant_length": LONGEST}
    wide = {"clip_low": 0.2, "clip_high": 0.28, "dual_clip": 3.0}
    gspo = {"ratio": "sequence", "clip_low": 3e-4, "clip_high": 4e-4}
    sequence = {"importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4}
    plain = {"use_bias_correction_kl": False}
    masked = {"mask_truncated_completions": True}
    return [
        Case("grpo", {"loss_type": "grpo"}, PolicyGradient(mean="rollout")),
        Case(
            "grpo kl",
            {"loss_type": "grpo", "beta": 0.3},
            PolicyGradient(mean="rollout"),
            kl=Kl(coefficient=0.3, mean="rollout"),
        ),
        Case("grpo masked", {"loss_type": "grpo", **masked}, PolicyGradient(mean="rollout", over="all")),
        Case("bnpo", {"loss_type": "bnpo"}, PolicyGradient()),
        Case("dapo", {"loss_type": "dapo", "epsilon_high": 0.28, "delta": 3.0}, PolicyGradient(**wide)),
        Case("dapo kl", {"loss_type": "dapo", "beta": 0.04}, PolicyGradient(), kl=Kl(coefficient=0.04)),
        Case(
            "dapo plain kl",
            {"loss_type": "dapo", "beta": 0.04, **plain},
            PolicyGradient(),
            kl=Kl(coefficient=0.04, unbiased=False),
        ),
        Case(
            "dr_grpo",
            {"loss_type": "dr_grpo", "scale_rewards": "none"},
            PolicyGradient(**constant),
            GroupRelative(scale="none"),
        ),
        Case("dr_grpo masked", {"loss_type": "dr_grpo", **masked}, PolicyGradient(**constant, over="all")),
        Case(
            "scale batch",
            {"loss_type": "dapo", "scale_rewards": "batch"},
            PolicyGradient(),
            GroupRelative(scale="batch", eps=1e-4),
        ),
        Case("gspo", {"loss_type": "grpo", **sequence}, PolicyGradient(mean="rollout", **gspo)),
        Case(
            "gspo kl",
            {"loss_type": "grpo", "beta": 0.1, **sequence, **plain},
            PolicyGradient(mean="rollout", **gspo),
            kl=Kl(coefficient=0.1, mean="rollout", unbiased=False),
        ),
        Case("importance", {"loss_type": "dapo"}, PolicyGradient(importance_cap=1.1), corrected=True),
    ]


def tokenizer() -> PreTrainedTokenizerFast:
    """A vocabulary of 28 words."""
    words = {word: i for i, word in enumerate(["<pad>", "<eos>", *(chr(97 + i) for i in range(26))])}
    made = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    )


def trainer(case: Case, folder: str) -> GRPOTrainer:
    """TRL's trainer on a tiny Llama whose completions often end early."""
    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=28, pad_token_id=0, eos_token_id=1, bos_token_id=None, **size)
    )
    model.save_pretrained(Path(folder) / "model")  # TRL loads its reference from a path
    arguments = GRPOConfig(
        output_dir=folder,
        use_cpu=True,
        bf16=False,  # TRL's default would round small differences away
        report_to="none",
        per_device_train_batch_size=GROUPS * PER_GROUP,
        gradient_accumulation_steps=1,
        num_generations=PER_GROUP,
        max_completion_length=LONGEST,
        model_init_kwargs={"dtype": "float32"},
        seed=1,
        **case.trl,
    )
    return GRPOTrainer(
        model=str(Path(folder) / "model"),
        reward_funcs=lambda completions, **columns: REWARDS,
        args=arguments,
        train_dataset=Dataset.from_dict({"prompt": ["a b", "c d e", "f"]}),
        processing_class=tokenizer(),
    )


def their_batch(theirs: GRPOTrainer) -> dict[str, Tensor]:
    """What TRL's own generation and scoring hands to its loss, with weights that have moved since."""
    prompts = [row for row in theirs.train_dataset for _ in range(PER_GROUP)]
    theirs.model.train()
    theirs.current_gradient_accumulation_steps = 1
    with torch.random.fork_rng():
        torch.manual_seed(3)
        batch = theirs._generate_and_score_completions([dict(row) for row in prompts])
        batch["old_per_token_logps"] = their_logprobs(theirs, batch).detach()
        noise = torch.randn(batch["completion_ids"].shape)
        batch["sampling_per_token_logps"] = batch["old_per_token_logps"] + 0.1 * noise
        batch.setdefault("ref_per_token_logps", batch["old_per_token_logps"] + 0.2 * noise.flip(0))
        with torch.no_grad():
            for weight in theirs.model.parameters():
                weight.add_(0.05 * torch.randn_like(weight) * (weight.dim() > 1))
    return batch


def their_logprobs(theirs: GRPOTrainer, batch: dict[str, Tensor]) -> Tensor:
    """[B, T], by TRL's own forward pass."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    seen = torch.cat([batch["prompt_mask"], written(batch["completion_ids"]).long()], 1)
    return theirs._get_per_token_logps_and_entropies(
        theirs.model, ids, seen, batch["completion_ids"].shape[1]
    )[0]


def written(completion: Tensor) -> Tensor:
    """bool [B, T], up to and including the first end-of-turn token."""
    ends = (completion == 1).cumsum(1)
    return (ends == 0) | ((ends == 1) & (completion == 1))


def our_rollouts(batch: dict[str, Tensor]) -> tuple[Rollouts, Tensor]:
    """(the same batch as tables, bool [B, T] which cells are actions)."""
    cells = written(batch["completion_ids"])
    share = batch["completion_mask"][cells].float()
    lengths = cells.sum(1)
    ends = lengths.cumsum(0)
    start = torch.zeros(len(share), dtype=torch.long)
    start[ends[:-1]] = 1
    start[0] = 1
    parent = torch.where(start == 1, -1, torch.arange(len(share)) - 1)
    columns = {"parent": parent, "share": share, "token": batch["completion_ids"][cells]}
    reward = torch.tensor([math.nan if value is None else value for value in REWARDS])
    group = torch.arange(len(reward)) // PER_GROUP
    return Rollouts({"last": ends - 1, "group": group, "reward": reward}, Actions(columns)), cells


@dataclass
class Now:
    """Our `Here` on TRL's forward pass."""

    logprob: Tensor
    reference: Tensor


def our_loss(case: Case, rollouts: Rollouts, now: Now) -> Tensor:
    """The sum of our weighted losses."""
    actions = torch.arange(len(rollouts.actions))
    terms = [case.objective, *([case.kl] if case.kl else [])]
    total = torch.zeros((), dtype=torch.float64)
    for term in terms:
        weight = action_weights(term, rollouts)
        total = total + (weight * term(now, rollouts, actions)[0]).sum()
    return total


def compare(case: Case, folder: str) -> dict[str, float | str]:
    """Largest differences between the two on one batch."""
    theirs = trainer(case, folder)
    batch = their_batch(theirs)
    rollouts, cells = our_rollouts(batch)
    rollouts = case.credit(rollouts)
    ours = rollouts.actions.advantage.nan_to_num(0.0)
    advantage = (ours - batch["advantages"][rollouts.owner]).abs().max().item()
    sampled, old = batch["sampling_per_token_logps"][cells], batch["old_per_token_logps"][cells]
    rollouts = rollouts.put_actions(logprob=sampled if case.corrected else old, proximal=old)
    if case.corrected:
        # TRL's importance weights need a vLLM server to be computed; its loss multiplies them in by itself
        theirs.use_vllm, theirs.vllm_importance_sampling_correction = True, True
        gap = batch["old_per_token_logps"] - batch["sampling_per_token_logps"]
        batch["importance_sampling_ratio"] = gap.exp().clamp(max=case.objective.importance_cap)
    loss = theirs._compute_loss(theirs.model, batch)
    gradient = flat_gradient(loss, theirs.model)
    now = Now(their_logprobs(theirs, batch)[cells], batch["ref_per_token_logps"][cells])
    our = our_loss(case, rollouts, now)
    our_gradient = flat_gradient(our, theirs.model)
    return {
        "case": case.name,
        "advantage": advantage,
        "loss": abs(loss.item() - our.item()),
        "gradient": (gradient - our_gradient).abs().max().item(),
        "their_loss": loss.item(),
        "their_gradient": gradient.abs().max().item(),
        "actions": len(rollouts.actions),
    }


def flat_gradient(loss: Tensor, model: torch.nn.Module) -> Tensor:
    """All parameters' gradients in one row."""
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    return torch.cat([gradient.flatten() for gradient in gradients])


def main() -> None:
    """Compares all cases; fails when one differs by more than the bound."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [compare(case, folder) for case in cases()]
    for row in rows:
        ours = "  ".join(f"{name} {row[name]:.1e}" for name in ("advantage", "loss", "gradient"))
        theirs = f"TRL: loss {row['their_loss']:+.5f}, gradient {row['their_gradient']:.1e}"
        print(f"{row['case']:<16} {ours}   ({theirs})")
    worst = [max(row["advantage"], row["loss"], row["gradient"]) for row in rows]
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({"bound": BOUND, "largest": max(worst), "cases": rows}, indent=1))
    print(f"parity_trl: {max(worst):.1e} ({min(worst):.1e}-{max(worst):.1e}) over {len(rows)} cases")
    if max(worst) > BOUND:
        raise SystemExit(f"differs from TRL by more than {BOUND}")


if __name__ == "__main__":
    main()
