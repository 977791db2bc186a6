"""Train on the tokens with the largest |advantage| * entropy (D3S, arXiv 2509.22115, token level).

    T = the share K of the kept tokens with the largest |A_t| H_t        H_t: entropy of the law at the token

The entropy is that of the whole sampling law (its temperature included) under the weights at the start of the
update, without gradient; the policy computes it for kept tokens alone. One pool holds the tokens of all kept
rollouts; with `scope: response` each response keeps its own share, and then, with one advantage a rollout,
|A| has no effect. Only the tokens kept enter the policy gradient; all of a kept rollout are forwarded,
because others attend to them. Not here: rollouts (subset.py), gradients of H (entropy_bonus.py).
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from oneloop.core import segments
from oneloop.core.part import Options, part
from oneloop.core.rollouts import Rollouts
from oneloop.select.kept_share import Share

ROUNDING = 1e-9
"""0.07 * 100 is 7.000000000000001 in floating point, and means 7."""


def select_tokens(score: Tensor, pool: Tensor | None = None, share: float = 0.3) -> Tensor:
    """bool, of each label in `pool` [a] the `share` (rounded up, at least 1) of largest `score` [a].

    Scores [n, T] without labels: one pool a row. Ties go to the earlier token.

    >>> select_tokens(torch.tensor([[0.1, 0.9, 0.5, 0.4]]), share=0.5).tolist()
    [[False, True, True, False]]
    """
    shape = score.shape
    score, pool = segments.flat(score, pool)
    size = torch.bincount(segments.labels(pool)) if len(pool) else pool
    wanted = (share * size.double() - ROUNDING).ceil().clamp(min=1)
    return (rank(score, pool) < wanted[segments.labels(pool)]).view(shape)


def rank(score: Tensor, pool: Tensor) -> Tensor:
    """int64 [a], how many tokens of the same label come before: larger score, or equal and earlier.

    >>> rank(torch.tensor([0.1, 0.9, 0.5]), torch.tensor([0, 0, 1])).tolist()
    [1, 0, 0]
    """
    dense = segments.labels(pool)
    order = score.argsort(descending=True, stable=True)
    order = order[dense[order].argsort(stable=True)]
    size = torch.bincount(dense) if len(dense) else dense
    first = (size.cumsum(0) - size)[dense[order]]
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device) - first)


def _reads(self: "TopTokens") -> tuple[str, ...]:
    return ("actions.advantage", "actions.share", *(("actions.entropy",) if self.ranks else ()))


@part(
    reads=_reads,
    writes=("actions.share",),
    units=("discrete",),
    paper="arXiv 2509.22115",
)
class TopTokens:
    """Share 0 for the tokens outside the top; `facts["select_metrics"]` says what was kept."""

    scope: Literal["batch", "response"] = "batch"
    """batch: one pool of all kept tokens; response: a pool for each rollout."""
    share: Annotated[Share, Options(Share)] = Share(start=0.3, end=1.0)
    """Share of the kept tokens that stays."""
    most_per_response: Annotated[int, Field(ge=1)] | None = None
    """Most tokens of a rollout in the pool, its best ones; None: no limit. Not in the paper."""

    @property
    def ranks(self) -> bool:
        """Whether some token may be left out; if not, the entropy, which costs a forward pass, is not
        read.
        """
        return self.most_per_response is not None or not self.share.whole

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """`rollouts` with lowered shares; a token that several rollouts share counts once, as the first's.

        A token without a verdict (NaN) is no candidate; where no advantage differs from 0 nothing is kept.
        Raises ValueError naming the rollouts whose advantage is infinite or whose entropy is not finite.
        """
        actions = rollouts.actions
        candidates = ((actions.share > 0) & ~actions.advantage.isnan()).nonzero().squeeze(1)
        score = actions.advantage[candidates].double().abs()
        if self.ranks:
            score = score * actions.entropy[candidates].double()
        owner = rollouts.owner[candidates]
        _check(rollouts, score, owner)
        if not bool(actions.advantage[candidates].any()):
            candidates, score, owner = candidates[:0], score[:0], owner[:0]
        if self.most_per_response is not None:
            best = rank(score, owner) < self.most_per_response
            candidates, score, owner = candidates[best], score[best], owner[best]
        pool = owner if self.scope == "response" else torch.zeros_like(owner)
        share = self.share.at(rollouts.facts)
        kept = select_tokens(score, pool, share)
        numbers = {"select/tokens": int(kept.sum()), "select/token_share": share}
        numbers["select/empty"] = float(not bool(kept.any()))
        if bool(kept.any()):
            numbers["select/largest_response_share"] = float(owner[kept].bincount().max() / kept.sum())
        new = torch.zeros_like(actions.share)
        new[candidates[kept]] = actions.share[candidates[kept]]
        measured = {**rollouts.facts.get("select_metrics", {}), **numbers}
        return rollouts.put_actions(share=new).put_facts(select_metrics=measured)


def _check(rollouts: Rollouts, score: Tensor, owner: Tensor) -> None:
    bad = owner[~score.isfinite()].unique()
    if len(bad):
        raise ValueError(
            f"top_tokens: the advantage or the entropy of kept tokens is not finite in rollouts "
            f"{rollouts.id[bad].tolist()[:8]}"
        )
