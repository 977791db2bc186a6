"""The sandwich rule with in-place distillation (BigNAS, arXiv 2003.11142), a baseline of probability shift.

A step trains the largest network on the labels and others, the smallest among them, on what the largest says:

    CE(largest, labels) + sum over the others of CE(architecture, softmax(largest).detach())

Gradients are summed, not averaged; a step costs as many passes as it has architectures.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oneloop.models.supernet.elastic import ALL, Architecture, at


def distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean cross-entropy of logits `student` [B, C] with softmax(`teacher`), to which no gradient flows."""
    return F.cross_entropy(student, teacher.detach().softmax(-1))


def sandwich(
    model: nn.Module, inputs: Tensor, targets: Tensor, others: Sequence[Architecture]
) -> dict[str, float]:
    """Adds the gradients of a step to the weights of `model`, which maps `inputs` to logits [B, C].

    `targets`: labels [B], or probabilities [B, C]; `others`: what learns from the largest, such as the
    smallest and two drawn. Returns the losses: `largest`, and `others`, a mean. Raises ValueError where
    `others` is empty.
    """
    if not others:
        raise ValueError("sandwich: others: got none, must be at least the smallest architecture")
    with at(model, ALL):
        teacher = model(inputs)
        largest = F.cross_entropy(teacher, targets)
        largest.backward()
    losses = []
    for architecture in others:
        with at(model, architecture):
            loss = distillation(model(inputs), teacher)
            loss.backward()
        losses.append(float(loss.detach()))
    return {"largest": float(largest.detach()), "others": torch.tensor(losses).mean().item()}
