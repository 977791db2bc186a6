import pytest
import torch

from oneloop.models.image_tokenizer.contribution import contribution_maps, token_contribution
from oneloop.models.image_tokenizer.quality import length_for_quality, psnr, quality_by_length
from tests.models.image_tokenizer.tiny import pictures, tiny


def test_psnr():
    assert float(psnr(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.1))) == pytest.approx(20, abs=1e-5)


class Counting:
    """Stands for a tokenizer: its image of K tokens is K in every pixel."""

    config, device = tiny().config, torch.device("cpu")

    def encode(self, images):
        return torch.zeros(len(images), 7, dtype=torch.long)

    def decode(self, indices):
        return torch.full((1, 1, 8, 8), float(indices.shape[1]))


def scripted(qualities, looked):
    """A tokenizer, an image, and a metric that says `qualities[K - 1]` of K tokens and notes what it saw."""

    def metric(images, originals):
        looked.append(int(images[0, 0, 0, 0]))
        return torch.tensor([float(qualities[looked[-1] - 1])])

    return Counting(), torch.zeros(1, 8, 8), metric


@pytest.mark.parametrize("target", [0.5, 1, 3, 3.5, 7])
def test_bisection_finds_the_fewest_tokens(target):
    looked = []
    tokenizer, image, metric = scripted([1, 2, 3, 4, 5, 6, 7], looked)
    assert length_for_quality(tokenizer, image, target, metric) == max(1, -(-target // 1))
    assert len(looked) <= 4


def test_what_all_tokens_do_not_reach():
    looked = []
    tokenizer, image, metric = scripted([1, 2, 3, 4, 5, 6, 7], looked)
    assert length_for_quality(tokenizer, image, 8, metric) is None


def test_quality_that_does_not_grow_is_scanned():
    tokenizer, image, metric = scripted([1, 9, 8, 6.2, 5, 6, 7], [])
    assert length_for_quality(tokenizer, image, 6.5, metric) == 2
    tokenizer, image, metric = scripted([1, 9, 3, 4, 5, 6, 7], [])
    assert length_for_quality(tokenizer, image, 8, metric) == 2  # all tokens together fall short


def test_quality_by_length_is_that_of_each_prefix():
    tokenizer, image = tiny(), pictures(1)[0]
    found = quality_by_length(tokenizer, image)
    for length in range(1, 8):
        shown = tokenizer.decode(tokenizer.encode(image[None]), length)
        assert float(found[length - 1]) == pytest.approx(float(psnr(shown, image[None])), abs=1e-4)


def test_tokens_that_are_not_decoded_contribute_nothing():
    tokenizer, images = tiny(), pictures(6)
    found = token_contribution(tokenizer, images, length=3)
    assert found.shape == (7,)
    assert (found[:3] > 0).all() and (found[3:] == 0).all()
    assert contribution_maps(tokenizer, images).shape == (7, 8, 8)


def test_a_token_replaced_by_itself_contributes_nothing():
    tokenizer = tiny(codebook_size=2)
    with torch.no_grad():  # one code only is ever taken, and the other is the same
        tokenizer.quantize.embedding.weight[1] = tokenizer.quantize.embedding.weight[0]
    assert (token_contribution(tokenizer, pictures(3)) == 0).all()
