"""Groups as others see them: columns for a count strategy, and the rewards of refused ones in words."""

import collections

import torch
from torch import Tensor

from oneloop.core.rollouts import Rollouts
from oneloop.sample.plan.piles import Group


def pass_rates(refused: list[Rollouts]) -> str:
    """Mean rewards of refused groups, in words: "; their mean rewards: 0: 12, 1: 3"; "" without any."""
    means = [float(group.reward.double().nanmean()) for group in refused if "reward" in group]
    counted = collections.Counter("no verdict" if mean != mean else f"{round(mean, 2):g}" for mean in means)
    most = ", ".join(f"{mean}: {groups}" for mean, groups in counted.most_common(8))
    return f"; their mean rewards: {most}" if most else ""


NEVER = torch.tensor([-torch.inf], dtype=torch.float64)


def group_columns(groups: list[Group]) -> dict[str, Tensor]:
    """What a count strategy sees of idle groups, each [G]: group, round, rollouts issued, verdicts,
    and of these the mean, std and best reward."""
    rewards = [group.rewards[~group.rewards.isnan()] for group in groups]
    return {
        "group": torch.tensor([group.number for group in groups]),
        "round": torch.tensor([group.round for group in groups]),
        "issued": torch.tensor([group.issued for group in groups]),
        "verdicts": torch.tensor([len(reward) for reward in rewards]),
        "mean": torch.stack([reward.mean() for reward in rewards]),
        "std": torch.stack(
            [reward.std() if len(reward) > 1 else reward.sum() * torch.nan for reward in rewards]
        ),
        "best": torch.stack([torch.cat([reward, NEVER]).amax() for reward in rewards]),
    }
