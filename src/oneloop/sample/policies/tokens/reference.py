"""The reference of a language policy: a frozen copy of its weights, adapters included."""

import copy
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from oneloop.sample.policies.tokens.forward import CausalForward


class LanguageReference:
    """Earlier weights of `model`; none before `keep`. Frozen weights are shared with it, not copied.

    never: token ids that the law gives no probability.
    """

    def __init__(self, model: Any, autocast: bool, never: Collection[int] = ()):
        self.model, self.autocast, self.never = model, autocast, never
        self._kept: CausalForward | None = None

    @property
    def forward(self) -> CausalForward:
        """Its forward pass; raises ValueError when none is kept."""
        if self._kept is None:
            raise ValueError(
                "this policy keeps no reference; a part that reads 'reference' must ask for one first"
            )
        return self._kept

    def keep(self) -> None:
        """From now on the reference is the present weights."""
        frozen = {id(weight): weight for weight in self.model.parameters() if not weight.requires_grad}
        kept = copy.deepcopy(self.model, frozen).eval().requires_grad_(False)
        self._kept = CausalForward(kept, self.autocast, never=self.never)

    def state_dict(self) -> dict[str, Tensor] | None:
        """Its weights by name, those it shares with the model left out; None when none is kept."""
        return None if self._kept is None else self._own()

    def load_state_dict(self, state: dict[str, Tensor] | None) -> None:
        """What `state_dict` gave, beside a model whose own weights are loaded already."""
        if state is None:
            return
        self.keep()
        with torch.no_grad():
            for name, weight in self._own().items():
                weight.copy_(state[name])

    def _own(self) -> dict[str, Tensor]:
        shared = {id(weight) for weight in self.model.parameters()}
        own = self.forward.model.named_parameters()
        return {name: weight.detach() for name, weight in own if id(weight) not in shared}
