"""Sampling with a flow policy: all rollouts walk down the noise levels together, one call of the network a
step.

n rollouts   b distinct latents entering a step   a actions of the step (edges)
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oneloop.core.pictures import picture
from oneloop.core.rollouts import Actions, Rollouts
from oneloop.sample.policies.denoising.denoiser import Denoiser
from oneloop.sample.policies.denoising.here import Inputs, expand
from oneloop.sample.policies.trees.branches import Branches, Fork, distinct


class Walk:
    """One call of `sample`: from noise to images, collecting the actions level by level."""

    def __init__(self, policy: Denoiser, asked: Rollouts):
        self.policy, self.asked, count = policy, asked, len(asked)
        self.branches = Branches(asked)
        for fork in set(self.branches.forks):
            check_fork(fork, policy)
        most = policy.options.steps - 1
        if "window" in asked:
            check_window(asked["window"], most)
        self.limit = torch.where(asked.budget < 0, most, asked.budget.clamp(max=most))
        self.width = int(np.prod(policy.shape))
        self.which, first = distinct(asked.key)  # equal data rows are encoded once, and for all steps
        self.known = policy.condition(asked, first)
        # noise at the first level without data: 1 for a flow, whose first level is 1
        scale = math.hypot(policy.sigmas[0], 1 - policy.sigmas[0])
        self.start = scale * self.branches.start(self.width).view(count, *policy.shape)
        self.latent, self.last = self.start.clone(), torch.full((count,), -1)
        self.output = torch.empty(0)
        self.levels: list[dict[str, Tensor]] = []
        self.made = self.rendered = 0

    def take(self, step: int) -> None:
        """Step number `step` of every row that is not rendered yet: an action, or its image."""
        going = (self.limit >= step).nonzero().squeeze(1)
        if not len(going):
            return
        before, edges = self.branches.level(step - 1), self.branches.level(step)
        which, first = distinct(before.edge[going])
        node = torch.full((len(self.asked),), -1)
        node[going] = which
        acting = going[self.limit[going] > step]
        edge, chosen = distinct(edges.edge[acting])
        row = edges.first[edges.edge[acting][chosen]]
        inputs = self._inputs(step, going[first], acting[chosen], node)
        velocity = self.policy.velocity(inputs.latent, inputs.sigma, inputs.condition)
        rendering = going[self.limit[going] == step]
        if len(rendering):
            self._render(rendering, node[rendering], inputs, velocity)
        if len(acting):
            parents = before.first[before.edge[row]]
            noise = self.branches.noise(step, row, parents, self.width)
            self._act(acting, edge, acting[chosen], inputs, velocity, noise)

    def _inputs(self, step: int, nodes: Tensor, rows: Tensor, node: Tensor) -> Inputs:
        """What the network is told of the latents at `nodes` and of the actions of `rows`; `node` [n] is the
        latent that each rollout has reached."""
        policy, place = self.policy, self.policy.device
        sigma = torch.full((len(nodes),), policy.sigmas[step])
        moves = policy.moves(self.asked, rows, torch.full_like(rows, step))
        told = self.which[nodes].to(place)
        condition = {name: value[told] for name, value in self.known.items()}
        return Inputs(
            self.latent[nodes].to(place), sigma.to(place), condition, node[rows].to(place), *moves.unbind(1)
        )

    def _render(self, rows: Tensor, node: Tensor, inputs: Inputs, velocity: Tensor) -> None:
        at, clean = node.to(velocity.device), inputs.clean(velocity)
        images = torch.cat(
            [
                self.policy.render(clean[some], {name: told[some] for name, told in inputs.condition.items()})
                for some in at.split(self.policy.room)  # a decoder's maps are large
            ]
        )
        images = images.float().cpu()
        if not len(self.output):
            self.output = images.new_zeros(len(self.asked), *images.shape[1:])
        self.output[rows] = images
        self.rendered += len(rows)

    def _act(
        self, acting: Tensor, edge: Tensor, rows: Tensor, inputs: Inputs, velocity: Tensor, noise: Tensor
    ) -> None:
        """Draws the actions of `rows` [a]; `edge` says which of them each of the `acting` rows takes."""
        mean = inputs.mean(velocity)
        noise = noise.to(mean).view(-1, *self.policy.shape)
        latent = (mean + expand(inputs.std, mean) * noise).to(self.policy.stored)
        drawing = self.policy.draws
        logprob = inputs.logprob(latent.float(), mean).cpu()
        drawn = (inputs.std > 0).cpu()
        self.levels.append(
            {
                "parent": self.last[rows],
                "version": torch.full((len(rows),), self.policy.version),
                "latent": latent.cpu(),
                "logprob": logprob if drawing else torch.full_like(logprob, torch.nan),
                "share": drawn.float() if drawing else torch.ones(len(rows)),
            }
        )
        self.latent[acting] = latent.float().cpu()[edge]
        self.last[acting] = self.made + edge
        self.made += len(rows)

    def finished(self) -> Rollouts:
        """The asked rows with their actions, images and start noise."""
        empty = {"parent": torch.empty(0, dtype=torch.long)}
        names = list(self.levels[0]) if self.levels else []
        table = {name: torch.cat([level[name] for level in self.levels]) for name in names} or empty
        columns: dict[str, Any] = {**self.asked.columns, "last": self.last, "start": self.start}
        columns |= {"status": ["stop"] * len(self.asked), "output": self.output}
        return Rollouts(columns, Actions(table), self.asked.facts)


def beginnings(asked: Rollouts, seed: int) -> Rollouts:
    """The rows asked anew, to be drawn whole and each by itself, with noise named by `seed` and their
    group."""
    plain = asked.without("tree", "branch", "fork", "window")
    return plain.put(id=plain.group, budget=torch.full_like(plain.group, -1)).put_facts(seed=seed)


def check_fork(fork: Fork, policy: Denoiser) -> None:
    """Raises ValueError where siblings would be one image: at a step that is not drawn."""
    steps = policy.options.steps
    if fork[0] and not policy.draws:
        raise ValueError("plan.dress.fork: noise 'ode' draws nothing, so siblings would be one image")
    if late := [at for at in fork[0] if at >= steps - 1]:
        raise ValueError(
            f"plan.dress.fork.steps: {late} of {list(fork[0])} are past step {steps - 2}, the last that is "
            f"drawn (policy.flow.steps is {steps}, and the last call of the network renders the image)"
        )


def check_window(window: Tensor, most: int) -> None:
    """Raises ValueError for a window [n, 2] that ends after the last of `most` actions."""
    if bool((window[:, 1] > most).any()):
        begin, end = window[int(window[:, 1].argmax())].tolist()
        raise ValueError(
            f"plan.dress.window: steps {begin}..{end - 1} are to be drawn, but policy.flow.steps is "
            f"{most + 1}, so the last action is step {most - 1} (the last call of the network renders the "
            f"image); let the window begin at {max(0, most - (end - begin))} at most, or draw fewer steps"
        )


def demonstrations(policy: Denoiser, asked: Rollouts) -> Rollouts:
    """Rollouts of one action each, whose latent is the data's `image`: an array [C, H, W] in [0, 1] of the
    network's size, or a Pillow picture of any size and mode, of which the middle is taken."""
    wanted, rows = policy.network.picture, zip(asked.example, asked.key, strict=True)
    images = torch.stack([_image(row, f"data row {int(key)}", wanted) for row, key in rows])
    latent, count = policy.network.latent(images.to(policy.device)).float().cpu(), len(asked)
    if latent.shape[1:] != policy.shape:
        raise ValueError(
            f"the data's images give latents of shape {tuple(latent.shape[1:])}, "
            f"the network takes {policy.shape}"
        )
    table = {
        "parent": torch.full((count,), -1),
        "version": torch.full((count,), -1),
        "latent": latent,
        "logprob": torch.full((count,), torch.nan),
        "share": torch.ones(count),
    }
    columns: dict[str, Any] = {**asked.columns, "last": torch.arange(count), "status": ["stop"] * count}
    columns |= {"start": torch.zeros_like(latent), "output": images}
    return Rollouts(columns, Actions(table), asked.facts)


def check_demonstration(network: Any, row: Mapping[str, Any], where: str) -> None:
    """Raises ValueError, naming `where`, for a row without a picture that the network can learn."""
    _image(row, where, network.picture)


def _image(row: Mapping[str, Any], where: str, wanted: tuple[int, int, int]) -> Tensor:
    """float32 [C, H, W] in [0, 1]."""
    image = row.get("image")
    if image is None:
        raise ValueError(f"{where} has no 'image' to learn from; its columns: {', '.join(row)}")
    return torch.as_tensor(picture(image, where, wanted))
