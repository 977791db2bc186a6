"""What elastic layers share: sizes are named, and the first units of each dimension are kept.

A layer's weights are those of its largest form. It follows choices by name (`Kept`) and computes with the
first units alone. Two forms give the same numbers:

    slice   `keep(model, {"width": 16})`: weights are sliced; what is left out costs nothing
    mask    `mask(model, {"width": m})`, m [units] of zeros and ones: everything is computed, then outputs are
            multiplied by m, so that a gradient reaches m; activations between layers must map 0 to 0
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from oneloop.models.supernet.cutting import Cutter

Architecture = Mapping[str, int]
"""The value of each choice by its name, such as {"width": 32, "depth": 2}."""
ALL: Architecture = MappingProxyType({})
"""The largest architecture: a choice that is not named keeps all it has."""


@dataclass(frozen=True)
class Kept:
    """How many units of a dimension are kept: the value of `choice`, times `each`."""

    choice: str
    """Name of the choice."""
    each: int = 1
    """Units for one of the choice, such as the size of a head where heads are chosen."""


class Elastic:
    """An `nn.Module` that follows choices also derives from this, and says which and how it is cut."""

    present: Architecture = ALL
    """The architecture it computes, set by `keep`."""
    masks: Mapping[str, Tensor] = MappingProxyType({})
    """Masks of choices [units], set by `mask`."""

    def follows(self) -> Iterator[tuple[Kept, int]]:
        """(what is kept, the largest size) of each elastic dimension of this module itself."""
        raise NotImplementedError

    def cut(self, cutter: Cutter) -> nn.Module:
        """A plain module that computes what this one does at the present architecture."""
        raise NotImplementedError

    def size(self, kept: Kept | None, whole: int) -> int:
        """Units in use of a dimension that has `whole`."""
        if kept is None or kept.choice not in self.present:
            return whole
        return self.present[kept.choice] * kept.each

    def mask_of(self, kept: Kept | None) -> Tensor | None:
        """The mask [units] of a dimension; None where all of it is computed and used."""
        if kept is None or kept.choice not in self.masks:
            return None
        mask = self.masks[kept.choice]
        return mask if kept.each == 1 else mask.repeat_interleave(kept.each)


def masked(output: Tensor, mask: Tensor | None) -> Tensor:
    """`output` [..., units] times `mask` [units], or `output` itself without one."""
    return output if mask is None else output * mask.to(output.dtype)


def elastic_modules(model: nn.Module) -> Iterator[tuple[str, Elastic]]:
    """(name, module) of each elastic module in `model`."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, Elastic))


def largest(model: nn.Module) -> dict[str, int]:
    """The largest value of each choice that `model` follows."""
    found: dict[str, int] = {}
    for _, module in elastic_modules(model):
        for kept, whole in module.follows():
            found[kept.choice] = min(whole // kept.each, found.get(kept.choice, whole))
    return found


def keep(model: nn.Module, architecture: Architecture) -> None:
    """Have `model` compute `architecture`, by slices; {} is the whole supernet.

    Raises ValueError for a choice that no module follows and for a value above what there is or below 0.
    """
    known = largest(model)
    for name, value in architecture.items():
        _known(name, known)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= known[name]:
            raise ValueError(f"architecture: {name}: got {value!r}, must be an integer in 0..{known[name]}")
    _tell(model, architecture, {})


def mask(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Have `model` compute its whole self with units weighed by `masks`, {choice: [largest value]}.

    Raises ValueError for a choice that no module follows and for a mask of another length.
    """
    known = largest(model)
    for name, given in masks.items():
        _known(name, known)
        if given.shape != (known[name],):
            raise ValueError(f"mask: {name}: got shape {list(given.shape)}, must be [{known[name]}]")
    _tell(model, ALL, masks)


@contextmanager
def at(model: nn.Module, architecture: Architecture) -> Iterator[None]:
    """Inside this context `model` computes `architecture`; afterwards what it did before."""
    before = [(module, module.present, module.masks) for _, module in elastic_modules(model)]
    try:
        keep(model, architecture)
        yield
    finally:
        for module, present, masks in before:
            module.present, module.masks = present, masks


def _tell(model: nn.Module, architecture: Architecture, masks: Mapping[str, Tensor]) -> None:
    """Set both on every elastic module; all share the same two mappings."""
    told, weights = MappingProxyType(dict(architecture)), MappingProxyType(dict(masks))
    for _, module in elastic_modules(model):
        module.present, module.masks = told, weights


def _known(name: str, known: Mapping[str, int]) -> None:
    """Raises ValueError, with the nearest name, for a choice that no module follows."""
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"it follows {', '.join(sorted(known)) or 'none'}"
        raise ValueError(f"no module of the supernet follows the choice '{name}'; {hint}")
