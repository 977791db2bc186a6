"""Tiny models of every architecture, saved as a user would have them: weights and a tokenizer."""

import string
from pathlib import Path

import pytest
import torch

from oneloop.core.rollouts import Rollouts
from oneloop.models.language.small_llama import character_tokenizer
from oneloop.sample.data.rows import Rows
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.plan import Plan
from oneloop.sample.policies.language import Language
from oneloop.sample.policies.tokens.policy import LanguagePolicy
from tests.engines.tiny_models import ARCHITECTURES, VOCABULARY, tiny
from tests.support.rounding import Exact, reordered

ALPHABET = string.ascii_letters + "012"
PROMPTS = ["ab", "012012012", "hello", "x"]


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> dict[str, Path]:
    """{architecture: folder}."""
    root = tmp_path_factory.mktemp("models")
    tokenizer = character_tokenizer(ALPHABET, 128)
    assert len(tokenizer) == VOCABULARY
    for name in ARCHITECTURES:
        tiny(name).save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    return {name: root / name for name in ARCHITECTURES}


@pytest.fixture(scope="session")
def opened(folders):
    """Opens a policy on one of `folders`: opened("llama", temperature=0.5)."""

    def open_policy(name: str = "llama", **options) -> LanguagePolicy:
        return Language(**{"model": str(folders[name]), "max_new_tokens": 12, **options}).open()

    return open_policy


def asked(rows=PROMPTS, n: int = 3, seed: int = 7, **facts) -> Rollouts:
    """Requests for `n` rollouts of each prompt; a row may be a prompt or a whole dict."""
    data = Rows(rows=[row if isinstance(row, dict) else {"prompt": row} for row in rows])
    plan = Plan(data=data, groups=len(rows), count=Uniform(n=n), shuffle=False)
    plan.begin(seed, 1)
    return plan.ask().put_facts(**facts)


def everything(rollouts: Rollouts) -> torch.Tensor:
    return torch.ones(len(rollouts.actions), dtype=torch.bool)


def gradients(policy: LanguagePolicy, rollouts: Rollouts, pieces, loss=None) -> torch.Tensor:
    """Of the sum over `pieces` of a loss [a] that has another weight at each action; flat."""
    weight = torch.linspace(-1, 1, len(rollouts.actions))
    loss = loss or (lambda here: here.logprob + 0.5 * here.entropy)
    policy.model.zero_grad(set_to_none=True)
    for piece in pieces:
        values = loss(policy.at(rollouts, piece))
        (values * weight[piece].to(values)).sum().backward()
    return torch.cat([w.grad.flatten().double() for w in policy.model.parameters() if w.grad is not None])


def rounding(policy) -> float:
    """Relative difference of two orders of the same fp32 sums."""
    return reordered(policy.model)


def agree(policy: LanguagePolicy, rollouts: Rollouts, *logprobs: torch.Tensor) -> None:
    """Raises AssertionError unless each of `logprobs` [N] are those of exact forwards, by the model itself,
    of whole sequences, up to rounding."""
    rows, actions = [], []
    of, action = rollouts.paths
    for row in range(len(rollouts)):
        actions.append(action[of == row])
        rows.append(
            (tuple(policy.prompt_ids(rollouts, row)), tuple(rollouts.actions.token[actions[-1]].tolist()))
        )
    order = torch.cat(actions)
    Exact(policy.model, policy.law).agree(rows, *(each.detach()[order] for each in logprobs))
