"""What a tokenizer says of images that are to be learned from, each cut to the tokens it keeps.

a images   N tokens of a whole image   K codes
"""

from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from oneloop.models.image_tokenizer.quantizer import Quantized
from oneloop.models.image_tokenizer.tokenizer import OneDTokenizer


class PieceHere:
    """`oneloop.core.protocols.Here` for images; an action is a whole image."""

    def __init__(self, tokenizer: OneDTokenizer, images: Tensor, lengths: Tensor):
        self.tokenizer, self.images, self.lengths = tokenizer, images, lengths
        self.trains_codes = False

    @cached_property
    def quantized(self) -> Quantized:
        """The images encoded and rounded; one forward of the encoder."""
        found: Quantized = self.tokenizer.quantize(self.tokenizer.vectors(self.images))
        return found

    @cached_property
    def output(self) -> Tensor:
        """[a, C, H, W], the images cut to `lengths` and decoded, not cut to [0, 1]; differentiable."""
        return self.tokenizer.render(self.quantized.codes, self.lengths)

    @cached_property
    def error(self) -> Tensor:
        """[a], mean squared error of a pixel of the decoded image, differentiable."""
        return self._error(self.output)

    @property
    def decoder_error(self) -> Tensor:
        """[a], the same, with a gradient in the decoder alone."""
        return self._error(self.tokenizer.render(self.quantized.codes.detach(), self.lengths))

    def _error(self, made: Tensor) -> Tensor:
        return (made - self.images).square().flatten(1).mean(1)

    @property
    def proxy_logits(self) -> Tensor:
        """[a, proxy_codes, grid, grid], of a teacher's codes. Raises ValueError for a decoder of pixels."""
        if self.tokenizer.config.predicts != "codes":
            raise ValueError("the tokenizer's decoder predicts pixels; give one_d_piece a `teacher`")
        return self.tokenizer.predict(self.quantized.codes, self.lengths)

    @property
    def quantizer_loss(self) -> Tensor:
        """[a], the quantiser's loss over all N tokens, those that are cut included; differentiable."""
        self.trains_codes = True
        return self.quantized.loss

    @property
    def logprob(self) -> Tensor:
        """[a], nats per dimension, of the image under a normal law of variance 1/2 around the decoded one,
        without its constant: minus the squared error."""
        return -self.error

    @cached_property
    def usage(self) -> Tensor:
        """float [K], share of each code among all tokens of these images."""
        counts = self.quantized.indices.flatten().bincount(minlength=self.tokenizer.config.codebook_size)
        return counts / counts.sum()

    @cached_property
    def entropy(self) -> Tensor:
        """[a], nats a token: mean of -log `usage` over an image's tokens; over all images it is the entropy
        of `usage`. No gradient."""
        return -self.usage[self.quantized.indices].log().mean(1)

    @property
    def perplexity(self) -> Tensor:
        """[], exp of the entropy of `usage`: how many codes are in use, as if all were used alike."""
        entropy: Tensor = torch.special.entr(self.usage).sum()
        return entropy.exp()

    @property
    def logits(self) -> Tensor:
        """Refused: an encoder's tokens are not drawn."""
        raise TypeError("an image tokenizer has no logits; take the objective reconstruction")

    def rendered(self, calls: int) -> Tensor:
        """[a, C, H, W], the decoded images: one call makes them."""
        return self.output

    @property
    def reference(self) -> Tensor:
        """Refused: no reference is kept."""
        raise TypeError("an image tokenizer keeps no reference")

    def vectors(self) -> Tensor:
        """[a * N, d], the encoder's vectors before rounding, on the unit sphere, no gradient."""
        # rounding is straight through, so the codes' own values are those of the codebook
        with torch.no_grad():
            return F.normalize(self.tokenizer.vectors(self.images).flatten(0, 1).float(), dim=-1)
