"""One prompt, one token, the whole vocabulary: how N rollouts a step move probability mass over many steps.

The simulation of BroRL (arXiv 2510.01180, section 4.1), at its full size: V logits, `correct` of them right
(reward 1, the rest -1). Each step draws N tokens from p = softmax(z), takes their mean reward b as baseline
and makes one AdamW step on

    linear    -(1/N) sum over draws of (r_j - b) p_j        (the paper's; multiplicity counts)
    logprob   -(1/N) sum over draws of (r_j - b) log p_j    (REINFORCE, GRPO at ratio 1)

The paper leaves out eps, weight decay and the start. Its Figure 3 starts at Q = .630, which is the seeded
start below with the anchor among the correct tokens; AdamW's defaults fit its N = 4. Both matter: most
gradients lie below eps = 1e-8, where AdamW is gradient descent with rate / eps. State them with any result.
"""

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from oneloop.core.part import part
from oneloop.measure.width.mass_balance import Surrogate, logit_gradient

Record = dict[str, float]
"""`step`; `q_pos`, probability of all correct tokens; `improved`, share of correct tokens likelier than at
the start; `worst`, the lowest change of a correct token's probability, the anchor left out;
`worst_with_anchor`."""
ANCHOR = 0
"""The token that starts likelier than all others; correct."""


@part(paper="arXiv 2510.01180")
class TokenSimulator:
    """One setting of the simulation; `run` gives its history."""

    vocabulary: Annotated[int, Field(ge=2)] = 128_000
    """Tokens in the vocabulary."""
    correct: Annotated[int, Field(ge=1)] = 10_000
    """How many tokens are right: the first ones, the anchor included."""
    rollouts: Annotated[int, Field(ge=1)] = 512
    """Draws a step, N."""
    surrogate: Surrogate = "linear"
    """What is differentiated: the probability of a draw (linear, the paper) or its log (logprob, GRPO)."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate of AdamW."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Weight decay of AdamW; not stated in the paper."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """Epsilon of AdamW; not stated in the paper."""
    start_correct: float = 3.0
    """Logit of the correct tokens at the start; the others have 0."""
    start_anchor: float = 5.0
    """Logit of the anchor at the start."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the draws."""

    def __post_init__(self) -> None:
        if self.correct >= self.vocabulary:
            raise ValueError(
                f"correct must be below vocabulary ({self.vocabulary}), got {self.correct}: nothing is wrong"
            )

    def run(self, steps: int, every: int = 10, progress: Callable[[int], None] | None = None) -> list[Record]:
        """The state before the first step and after each `every`th and the last; float64 throughout."""
        logits = torch.zeros(self.vocabulary, dtype=torch.float64)
        logits[: self.correct] = self.start_correct
        logits[ANCHOR] = self.start_anchor
        reward = torch.full_like(logits, -1.0)
        reward[: self.correct] = 1.0
        optimizer = torch.optim.AdamW(
            [logits], lr=self.learning_rate, weight_decay=self.weight_decay, eps=self.eps, fused=True
        )
        draw = torch.Generator().manual_seed(self.seed)
        p = logits.softmax(0)
        start = p[: self.correct].clone()
        history = [self._record(0, p, start)]
        for step in range(1, steps + 1):
            logits.grad = self._gradient(p, reward, draw)
            optimizer.step()
            p = logits.softmax(0)
            if step % every == 0 or step == steps:
                history.append(self._record(step, p, start))
            if progress is not None:
                progress(step)
        return history

    def _gradient(self, p: Tensor, reward: Tensor, draw: torch.Generator) -> Tensor:
        drawn = torch.multinomial(p, self.rollouts, replacement=True, generator=draw)
        counts = torch.bincount(drawn, minlength=self.vocabulary).double()
        baseline = (counts * reward).sum() / self.rollouts
        step, _ = logit_gradient(p, counts * (reward - baseline), self.surrogate)
        return step.div_(-self.rollouts)

    def _record(self, step: int, p: Tensor, start: Tensor) -> Record:
        change = p[: self.correct] - start
        others = change[torch.arange(self.correct) != ANCHOR]
        return {
            "step": step,
            "q_pos": float(p[: self.correct].sum()),
            "improved": float((change > 0).double().mean()),
            "worst": float(others.min()) if len(others) else 0.0,
            "worst_with_anchor": float(change.min()),
        }
