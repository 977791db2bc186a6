"""Leave out what older weights sampled: the mask for partial rollouts (APRIL, arXiv 2509.18521).

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


def age(rollouts: Rollouts) -> Tensor:
    """int64 [N], versions between the weights that sampled an action and those the batch is to train.

    0 for demonstrations, which no version sampled. The batch's own newest action stands in for the weights
    where `facts["version"]` is not known.
    """
    version = rollouts.actions.version
    trained: int = rollouts.facts.get("version", int(version.max()) if len(version) else 0)
    return (trained - version).masked_fill(version < 0, 0)


@part(reads=("actions.version", "actions.share"), writes=("actions.share",), paper="arXiv 2509.18521")
class Stale:
    """Share 0 for actions that weights more than `max_age` updates ago have sampled."""

    max_age: Annotated[int, Field(ge=0)] = 0
    """Updates a trained action may be behind; 0: learn from the present weights' actions alone."""

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        """`rollouts` with lowered shares."""
        return rollouts.put_actions(share=rollouts.actions.share * (age(rollouts) <= self.max_age))
