"""Leave out actions that older weights sampled: the mask for partial rollouts (APRIL, arXiv 2509.18521).

    share = 0  where  version trained - version sampled > max_age

max_age 0 learns from tokens of the present weights alone (`mask_offpolicy_in_partial_rollout` in slime);
without this part every token is trained, and `policy_gradient.importance_cap` corrects for its age. Masked
tokens stay what the later ones were conditioned on, and their rollout's reward stays in its group's baseline:
credit comes before select. A rollout that is masked whole leaves the denominators too. Not here: the bound
that starts a rollout again (`leftovers.max_age`).
"""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts


def age(version: Tensor, trained: int | None = None) -> Tensor:
    """int64, updates between the weights that sampled an action and those that are to be trained.

    `version` (any shape) of the weights that sampled each action; -1, a demonstration, has age 0. `trained`:
    the version of the weights to be trained; None: the newest of `version`.

    >>> age(torch.tensor([3, 4, -1]), trained=5).tolist()
    [2, 1, 0]
    """
    if trained is None:
        trained = int(version.max()) if version.numel() else 0
    return (trained - version).masked_fill(version < 0, 0)


@part(reads=("actions.version", "actions.share"), writes=("actions.share",), paper="arXiv 2509.18521")
class Stale:
    """Share 0 for actions sampled by weights that are more than `max_age` updates old."""

    max_age: Annotated[int, Field(ge=0)] = 0
    """Largest age of a trained action, in updates; 0: only actions of the present weights."""

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """`rollouts` with lowered shares; `facts["version"]` is that of the weights to be trained."""
        fresh = age(rollouts.actions.version, rollouts.facts.get("version")) <= self.max_age
        return rollouts.put_actions(share=rollouts.actions.share * fresh)
