"""The image at the end of a rollout, differentiable through its last calls of the network.

    x_k = mean(x_{k-1}, v(x_{k-1})) + what was drawn      image = decode(x_K - sigma_K v(x_K))

Values are those that were sampled: the steps before are constants, and what was drawn is what the stored
latent lies off the mean. With one call this is the truncated roll-out of ReFL (arXiv 2304.05977) and
OneReward (2508.21066): d image / d v = -sigma_K. With more it is DRaFT-K (2309.17400).
"""

import torch
from torch import Tensor

from oneloop.core.rollouts import Rollouts
from oneloop.sample.policies.denoising.denoiser import Denoiser
from oneloop.sample.policies.denoising.here import Condition, Inputs, expand


def rendered(policy: Denoiser, rollouts: Rollouts, actions: Tensor, calls: int) -> Tensor:
    """[a, C, H, W], the image rendered after each of `actions` [a].

    Raises ValueError for fewer than 1 or more calls than an action has before and after it.
    """
    depth, row = rollouts.depth[actions], rollouts.owner[actions]
    if not 1 <= calls <= int(depth.min()) + 2:
        raise ValueError(
            f"calls must lie in 1..{int(depth.min()) + 2}, the calls of the shortest rollout, got {calls}"
        )
    condition = policy.condition(rollouts, row)
    path = [actions]
    for _ in range(calls - 1):
        path.append(parents(rollouts, path[-1]))
    latent = latents(policy, rollouts, path[-1], row)
    for later in reversed(path[:-1]):
        inputs = _inputs(policy, rollouts, later, row, latent, condition)
        mean = inputs.mean(policy.velocity(latent, inputs.sigma, condition))
        latent = mean + (latents(policy, rollouts, later, row) - mean).detach()
    sigma = torch.tensor(policy.sigmas)[depth + 1].to(policy.device)
    clean = latent - expand(sigma, latent) * policy.velocity(latent, sigma, condition)
    return policy.render(clean, condition)


def parents(rollouts: Rollouts, actions: Tensor) -> Tensor:
    """int64 [a], the action before each; -1 for the start."""
    return torch.where(actions < 0, actions, rollouts.actions.parent[actions])


def latents(policy: Denoiser, rollouts: Rollouts, actions: Tensor, row: Tensor) -> Tensor:
    """[a, ...] in fp32, what each action of its `row` arrived at; where it is -1 the start."""
    begins = expand(actions < 0, rollouts["start"][row])
    latent = torch.where(begins, rollouts["start"][row], rollouts.actions.latent[actions].float())
    return latent.to(policy.device)


def _inputs(
    policy: Denoiser, rollouts: Rollouts, actions: Tensor, row: Tensor, latent: Tensor, known: Condition
) -> Inputs:
    step = rollouts.depth[actions]
    sigma = torch.tensor(policy.sigmas)[step].to(policy.device)
    moves = policy.moves(rollouts, row, step)
    return Inputs(latent, sigma, known, torch.arange(len(actions)).to(policy.device), *moves.unbind(1))


def composite(images: Tensor, condition: Condition) -> Tensor:
    """`images` [b, C, H, W] inside of the mask and the source outside, exactly and without a gradient.

    The condition's `picture` [b, C + 1, H, W] in [-1, 1] is the source without what is masked, then the mask.
    Raises ValueError for another condition.
    """
    picture = condition.get("picture")
    if picture is None or picture.shape[1] != images.shape[1] + 1:
        raise ValueError(
            f"policy.flow.composite needs a condition of {images.shape[1] + 1} channels (the masked "
            "source, the "
            f"mask), got {0 if picture is None else picture.shape[1]}; "
            f"set the model's condition_channels to {images.shape[1] + 1}"
        )
    source, mask = picture[:, :-1] / 2 + 0.5, picture[:, -1:] > 0
    return torch.where(mask, images, source)
