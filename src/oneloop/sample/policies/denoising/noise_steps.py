"""Where the actions of a flow policy start, which of them are drawn, and which go into one call of the
network.

    n rollouts   N actions   a chosen actions   b distinct latents they start from (siblings share one)
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from oneloop.core import segments
from oneloop.core.rollouts import Rollouts
from oneloop.sample.policies.denoising.sde import NoiseStep
from oneloop.sample.policies.trees.branches import distinct, origins


def sources(rollouts: Rollouts) -> Tensor:
    """int64 [N], a number for the latent each action starts from, equal where it is the same one."""
    parent, start = rollouts.actions.parent, origins(rollouts)[rollouts.owner]
    return torch.where(parent < 0, start - len(rollouts), parent)


def starts(rollouts: Rollouts, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(which [a] of the distinct latents each of `actions` [a] starts from, an action [b] of each, float32
    [b, ...] the latents), latents step by step."""
    step = rollouts.depth[actions]
    which, first = distinct(segments.labels(step, sources(rollouts)[actions]))
    chosen = actions[first]
    parent, start = rollouts.actions.parent[chosen], rollouts["start"]
    begins = (parent < 0).view(-1, *[1] * (start.ndim - 1))
    latent = torch.where(
        begins, start[rollouts.owner[chosen]], rollouts.actions.latent[parent].to(start.dtype)
    )
    return which, chosen, latent


def pieces(rollouts: Rollouts, wanted: Tensor, room: int) -> Iterator[Tensor]:
    """Cuts the actions `wanted` [N] into whole denoising steps, siblings together, of at most `room` distinct
    latents.

    A step that alone needs more is cut (to one latent at least).
    """
    depth, source = rollouts.depth, sources(rollouts)
    held: list[Tensor] = []
    latents = 0
    for step in depth[wanted].unique().tolist():
        actions = (wanted & (depth == step)).nonzero().squeeze(1)
        which, first = distinct(source[actions])
        if held and latents + len(first) > room:
            yield torch.cat(held)
            held, latents = [], 0
        cut = [actions[which // room == number] for number in range(-(-len(first) // room))]
        yield from cut[:-1]  # full ones
        held, latents = [*held, cut[-1]], latents + (len(first) - 1) % room + 1
    if held:
        yield torch.cat(held)


def drawn(rollouts: Rollouts, rows: Tensor, step: Tensor) -> Tensor:
    """bool [a], whether the row's sampler draws that `step` [a]: in its window and at its forks."""
    if "window" not in rollouts:
        return torch.ones(len(rows), dtype=torch.bool)
    begin, end = rollouts["window"][rows].unbind(1)
    inside: Tensor = (step >= begin) & (step < end) | splits(rollouts, rows, step)
    return inside


def moves(
    rollouts: Rollouts, rows: Tensor, step: Tensor, ode: Sequence[NoiseStep], noisy: Sequence[NoiseStep]
) -> Tensor:
    """float32 [a, 4], `NoiseStep` of each step [a] of `rows` [a]: of `noisy` where drawn, else of `ode`."""
    schedules = torch.tensor(
        [[(at.of_latent, at.of_velocity, at.std, at.span) for at in each] for each in (ode, noisy)]
    )
    return schedules[drawn(rollouts, rows, step).long(), step]


def splits(rollouts: Rollouts, rows: Tensor, step: Tensor) -> Tensor:
    """bool [a], whether the row's tree branches at that step."""
    if "fork" not in rollouts:
        return torch.zeros(len(rows), dtype=torch.bool)
    pairs = zip(rows.tolist(), step.tolist(), strict=True)
    return torch.tensor([at in rollouts["fork"][row][0] for row, at in pairs], dtype=torch.bool)


def prompt_of(rollouts: Rollouts, row: int) -> object:
    """The prompt of one row. Raises ValueError where the context has anything else."""
    things = rollouts.context[row]
    if len(things) != 1 or things[0][0] != 0:
        raise ValueError("a flow policy takes a prompt at depth 0 and nothing later as context")
    return things[0][1]
