"""What a recipe says of an image tokenizer that is trained: images to lists of codes and back."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from oneloop.core.memory import device_of
from oneloop.core.part import Of, part
from oneloop.sample.policies.image_tokens.memory import TokenizerOutline, empty_tokenizer

if TYPE_CHECKING:
    from oneloop.sample.policies.image_tokens.policy import ImageTokenizerPolicy


@part(
    writes=(
        *("last", "status", "output", "actions.parent", "actions.version", "actions.latent"),
        "actions.token",
    ),
    paper="arXiv 2501.10064",
)
class ImageTokenizer:
    """Options of an image tokenizer as a policy; `open()` loads it."""

    units: ClassVar[dict[str, str]] = {"logprob": "nats_per_dim", "entropy": "discrete"}
    gives: ClassVar[tuple[str, ...]] = ()
    finishes: ClassVar[bool] = True

    model: Annotated[Any, Of("image_tokenizer")]
    """A part of `models`: {one_d_piece: {}}."""
    revive_every: Annotated[int, Field(ge=0)] = 20
    """Updates after which codes that no image used meanwhile move onto vectors of the latest images; 0:
    never."""
    revive_until: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Share of a phase up to which that happens; afterwards the codes only follow their gradient."""
    images_per_call: Annotated[int, Field(ge=1)] = 256
    """Images forwarded at a time when sampling; the learner has its own limit."""
    device: str = "auto"
    """Device of the networks, such as cuda:0; auto: a GPU when there is one."""

    def outline(self) -> TokenizerOutline:
        """The policy without weights. Raises ValueError: no such tokenizer or device."""
        return TokenizerOutline(
            empty_tokenizer(self.model), device_of(self.device, "policy.image_tokenizer.device")
        )

    def open(self, weights: str | None = None) -> "ImageTokenizerPolicy":
        """Loads the tokenizer, with the weights of the folder `weights` if given. Raises ValueError."""
        # it is made from these options
        from oneloop.sample.policies.image_tokens.policy import ImageTokenizerPolicy

        return ImageTokenizerPolicy(self, weights)
