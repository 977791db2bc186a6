"""Small judges that compare, and a recipe that trains through one, for the tests of reward
back-propagation."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from oneloop.judge.preference import Preference


@dataclass(frozen=True)
class Answers:
    """A stand-in for a model: yes where the first image is brighter. `detach` cuts the graph; `mass` goes to
    words that are neither."""

    detach: bool = False
    mass: float = 0.0
    favour: float = 0.0
    """Of the first place, in nats."""

    def build(self) -> Any:
        return Bright(self)


class Bright(nn.Module):
    def __init__(self, options: Answers):
        super().__init__()
        self.options, self.scale = options, nn.Parameter(torch.tensor(4.0))
        self.seen: list[list[str]] = []

    def answers(self, first, second, questions):
        self.seen.append([each.text for each in questions])
        shift = torch.tensor([1.0 + 0.5 * (each.criterion == "structure") for each in questions])
        margin = self.scale * shift * (first - second).flatten(1).mean(1) + self.options.favour
        margin = margin.detach() if self.options.detach else margin
        both = torch.stack([margin, torch.zeros_like(margin)], 1).log_softmax(1)
        return both + torch.log1p(torch.tensor(-self.options.mass))


def preference(**options: Any) -> Preference:
    return Preference(**{"model": Answers(), "tasks": {"fill": ("consistency",)}, **options})


SCORES = {"benchmarks.claims.onereward.scores.DigitScores": {}}
TASKS = {
    "fill": ["text_alignment", "consistency"],
    "extend": ["text_alignment", "consistency"],
    "remove": ["removal_quality"],
}
KNOWN = {"preference": {"model": SCORES, "tasks": TASKS}}
TRUTH = {"preference": {"model": SCORES, "tasks": TASKS, "hard": True, "held_out": True, "name": "truth"}}


def sets() -> list[dict[str, Any]]:
    weights = {"fill": 0.5, "extend": 0.25, "remove": 0.25}
    return [
        {"data": {"edits": {"of": "digits", "task": task}}, "weight": weight}
        for task, weight in weights.items()
    ]


def recipe(last: int = 5, steps: int = 4, **flow: Any) -> dict[str, Any]:
    """Trains through the true scores of digits, a few rollouts a step."""
    model = {"flow_mlp": {"hidden_size": 16, "layers": 1, "condition_channels": 2}}
    options = {"steps": 6, "noise": "ode", "beside_reference": True, "composite": True, **flow}
    return {
        "policy": {"flow": {"model": model, **options}},
        "phases": {
            "train": {
                "plan": {
                    "data": {"mixture": {"sets": sets(), "size": 64}},
                    "groups": 6,
                    "count": {"uniform": {"n": 1}},
                    "dress": [{"stop": {"first": 2, "last": last}}],
                },
                "judge": [TRUTH],
                "objective": [{"reward_backprop": {"judge": KNOWN}}],
                "learner": {"learning_rate": 0.001},
                "steps": steps,
            }
        },
        "save_every": 2,
        "seed": 3,
    }
