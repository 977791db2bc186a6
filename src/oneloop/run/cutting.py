"""A subnet of a trained language policy as a model folder of its own, without search and without training."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from oneloop.core.storage import write_folder
from oneloop.models.supernet.llama import LlamaSize, LlamaSubnets
from oneloop.recipe.recipe import load_recipe
from oneloop.run.checkpoint import locate
from oneloop.sample.policies.language import Language
from oneloop.sample.policies.tokens.loading import Tokenizer, open_model


class CutError(ValueError):
    """Nothing can be cut as asked; the message says why."""


class Cut(NamedTuple):
    """What was cut."""

    size: LlamaSize
    flops: int
    """FLOPs a token; a multiply-add counts as two."""
    parameters: int


class Supernet(NamedTuple):
    """A trained model, its subnets and its tokenizer."""

    subnets: LlamaSubnets
    tokenizer: Tokenizer

    def sizes(self) -> Iterator[tuple[LlamaSize, int]]:
        """(subnet, FLOPs a token), the cheapest first."""
        return iter(self.subnets.costs.items())

    def write(self, flops: float, out: Path) -> Cut:
        """Writes the costliest subnet that takes at most `flops` a token to the folder `out`, whole or not.

        Raises ValueError when no subnet does, FileExistsError when the folder is there.
        """
        size = self.subnets.within(int(flops))
        made = self.subnets.cut(size)

        def write(folder: Path) -> None:
            made.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)

        write_folder(out, write)
        parameters = sum(weight.numel() for weight in made.parameters())
        return Cut(size, self.subnets.costs[size], parameters)


def open_supernet(run: str) -> Supernet:
    """The model of a run directory or of one of its checkpoints, and the subnets that its recipe trained.

    Raises CutError for what is no run, or a run whose recipe names no subnets.
    """
    folder, beside = locate(run)
    if beside is None:
        raise CutError(
            f"{run} is no run with a recipe, which says what subnets were trained: give a run directory, "
            "or a checkpoint inside one"
        )
    options = load_recipe(beside)[0].policy
    if not isinstance(options, Language) or options.elastic is None:
        raise CutError(
            f"{beside}: policy.language.elastic names no subnets, so that {run} was trained as one network: "
            "there is nothing to cut out"
        )
    opened = open_model(folder, options.dtype, None)
    return Supernet(options.elastic.subnets(opened.model), opened.tokenizer)
