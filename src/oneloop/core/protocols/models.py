"""Models that a recipe names, and the networks they build."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor


class LanguageModel(Protocol):
    """A causal language model made here instead of loaded by name."""

    def build(self) -> tuple[Any, Any]:
        """(a transformers causal model, its tokenizer)."""


class VisionLanguageModel(Protocol):
    """A vision-language model made here instead of loaded by name."""

    def build(self) -> tuple[Any, Any]:
        """(a transformers model that reads pictures, its processor), both of a family that transformers
        knows. The processor has a chat template that puts the model's picture token where a message has
        {type: image}, and a tokenizer with an end and a padding token. Leaves torch's global random state as
        it was."""


class FlowModel(Protocol):
    """A network that a flow policy trains."""

    def build(self) -> "FlowNetwork":
        """The network on the CPU. Leaves torch's global random state as it was."""


@runtime_checkable
class Outlined(Protocol):
    """A `FlowModel` that `build` loads from somewhere: it can also be described without its weights."""

    def outline(self) -> "FlowNetwork":
        """The network with its weights on torch's meta device, where they take no memory."""


class ImageTokenizerModel(Protocol):
    """A network that turns images into lists of codes and back."""

    def build(self) -> "ImageTokenizerNetwork":
        """The network on the CPU. Leaves torch's global random state as it was."""


class JudgeModel(Protocol):
    """A model that compares two images, made or loaded."""

    def build(self) -> "PairNetwork":
        """The network on the CPU."""


class FlowNetwork(Protocol):
    """Velocities of latents at noise levels; a torch module with the weights that are trained."""

    shape: tuple[int, ...]
    """[C, H, W] of a latent."""
    picture: tuple[int, ...]
    """[C, H, W] of a picture."""
    tokens: int
    """Positions its transformer attends over; 1 without one. What a micro-batch is counted in."""
    units: int
    """Layers times width, for the estimate of memory."""

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """What data rows say to it, [b, ...] each."""

    def forward(self, latent: Tensor, sigma: Tensor, condition: dict[str, Tensor]) -> Tensor:
        """Velocity [b, C, H, W] of `latent` [b, C, H, W] at noise levels `sigma` [b]."""

    def decode(self, latent: Tensor) -> Tensor:
        """Pictures in [0, 1], differentiable."""

    def latent(self, images: Tensor) -> Tensor:
        """The latents of pictures in [0, 1]."""

    def save(self, folder: Path) -> None:
        """Writes the trained weights in a format that other libraries load."""

    def load(self, folder: Path) -> None:
        """What `save` left, to the bit."""


class FlowNetworkDefaults:
    """What a flow network may say of itself; what it leaves out is as here."""

    decoder_maps = 0
    """fp32 maps of a picture's size that decoding holds at its widest; 0: latents are pixels."""


@runtime_checkable
class Scheduled(Protocol):
    """A flow network with noise levels of its own, taken where the recipe sets no `shift`."""

    def noise_levels(self, steps: int) -> list[float]:
        """[steps + 1] noise levels, from 1 (or the highest it has) down to 0."""


@runtime_checkable
class Contextual(Protocol):
    """A flow network that makes something of what it is told that no noise level changes."""

    def context(self, told: dict[str, Tensor]) -> dict[str, Tensor]:
        """What `forward` takes as its condition, of what `encode` gave, [b, ...] each: called once where
        `forward` is called for many noise levels; differentiable."""


@runtime_checkable
class Timed(Protocol):
    """A flow network that is a diffusion model: its noise levels are those of a number of times."""

    def time_levels(self, share: Tensor, first: int = 0) -> Tensor:
        """[a], the levels of times from `first` on, drawn evenly by `share` [a] in [0, 1)."""

    def descent(self, sigma: Tensor, steps: int) -> Tensor:
        """[steps + 1, a], levels of `steps` calls from each level `sigma` [a], and 0."""


@runtime_checkable
class Contrasting(Protocol):
    """A flow network that looks at references of a writer's hand."""

    def views(self, condition: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """({branch: [a, 2, p] embeddings, of length 1, of two references of a writer}, writers [a])."""


@runtime_checkable
class Adapted(Protocol):
    """A flow network that trains adapters: without them it is its own reference."""

    def without_adapters(self) -> AbstractContextManager[None]:
        """Inside this context the adapters are off."""


class ImageTokenizerNetwork(Protocol):
    """Pictures as N tokens, each one of K codes of d numbers, and back; a torch module with the weights that
    are trained. b pictures; `lengths`, one number or int64 [b], is how many tokens of each are used."""

    config: Any
    """Its sizes: `picture` [C, H, W], `tokens` N, `codebook_size` K, `code_dims` d; `predicts`, which is
    "pixels"; and of its transformers `layers`, `hidden_size` and `grid`, where 1 + grid^2 + N is how many
    positions they attend over: what a micro-batch is counted in."""
    quantize: Any
    """A module that rounds: vectors [b, N, d] -> `codes` [b, N, d], with a gradient in the vectors, `indices`
    int64 [b, N], and `loss` [b]. Its `revive(used, vectors, order)` moves codes whose `used` [K] is 0 onto
    `vectors` [v, d] in the order int64 [v]."""

    def vectors(self, images: Tensor) -> Tensor:
        """[b, N, d] of `images` [b, C, H, W] in [0, 1], before rounding; differentiable."""

    def encode(self, images: Tensor) -> Tensor:
        """int64 [b, N], the tokens of `images`; no gradient."""

    def render(self, codes: Tensor, lengths: Any = None) -> Tensor:
        """Pictures [b, C, H, W] of `codes` [b, N, d]; differentiable, not cut to [0, 1]."""

    def decode(self, indices: Tensor, lengths: Any = None) -> Tensor:
        """Pictures [b, C, H, W] in [0, 1] of the tokens `indices` [b, N]."""

    def save_pretrained(self, folder: Path) -> None:
        """Writes the weights in a format that other libraries load."""

    @classmethod
    def from_pretrained(cls, folder: Path) -> Any:
        """What `save_pretrained` left, to the bit, on the CPU. Raises ValueError where it cannot be read."""


class PairNetwork(Protocol):
    """Answers questions about pairs of images; a torch module."""

    def answers(self, first: Tensor, second: Tensor, questions: Sequence[Any]) -> Tensor:
        """[b, 2] log-probabilities of "the first" and "the second", with a gradient in the images
        [b, C, H, W]."""
