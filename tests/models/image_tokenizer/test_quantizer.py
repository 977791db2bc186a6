import pytest
import torch
from torch.nn import functional as F

from oneloop.models.image_tokenizer.quantizer import VectorQuantizer, perplexity


def quantizer(rows, **_):
    made = VectorQuantizer(len(rows), len(rows[0]))
    with torch.no_grad():
        made.embedding.weight.copy_(torch.tensor(rows))
    return made


def test_the_worked_example():
    found = quantizer([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])(torch.tensor([[[3.0, 4.0]]]))
    assert found.indices.tolist() == [[2]]
    # (2 - 2 cos) / 2 with cos = 1.4 / sqrt 2
    distance = 2 - 2 * 1.4 / 2**0.5
    assert float(found.loss) == pytest.approx(1.25 * distance / 2, abs=1e-6)
    assert float(found.loss) == pytest.approx(0.01256313, abs=1e-6)


def test_of_codes_equally_near_the_first_is_taken():
    assert quantizer([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])(torch.tensor([[[0.0, 5.0]]])).indices.item() == 0
    assert quantizer([[1.0, 0.0], [0.0, 1.0]])(torch.tensor([[[1.0, 1.0]]])).indices.item() == 0


def test_the_nearest_code_is_that_of_the_largest_cosine_whatever_the_scale():
    torch.manual_seed(0)
    made, vectors = VectorQuantizer(64, 8), torch.randn(3, 20, 8)
    found = made(vectors)
    cosine = F.normalize(vectors, dim=-1) @ made.codebook.T
    assert torch.equal(found.indices, cosine.argmax(-1))
    best = cosine.max(-1).values
    torch.testing.assert_close(found.loss, (1.25 * (2 - 2 * best) / 8).mean(1), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.codes.norm(dim=-1), torch.ones(3, 20))
    with torch.no_grad():
        made.embedding.weight.mul_(torch.rand(64, 1) * 10 + 0.1)
    scaled = made(vectors * 7.5)
    assert torch.equal(scaled.indices, found.indices)
    torch.testing.assert_close(scaled.loss, found.loss, atol=1e-6, rtol=0)


def test_it_takes_the_codes_that_the_library_takes():
    library = pytest.importorskip("vector_quantize_pytorch")
    torch.manual_seed(1)
    other = library.VectorQuantize(dim=6, codebook_size=32, use_cosine_sim=True).eval()
    made = quantizer(other.codebook.tolist())
    vectors = torch.randn(4, 9, 6)
    codes, indices, _ = other(vectors)
    found = made(vectors)
    assert torch.equal(found.indices, indices)
    torch.testing.assert_close(found.codes, codes, atol=1e-6, rtol=0)


def test_gradients_pass_through_the_rounding_as_through_normalisation():
    torch.manual_seed(2)
    made, vectors = VectorQuantizer(16, 4), torch.randn(2, 5, 4, requires_grad=True)
    weights = torch.randn(2, 5, 4)
    (through,) = torch.autograd.grad((made(vectors).codes * weights).sum(), vectors)
    (plain,) = torch.autograd.grad((F.normalize(vectors, dim=-1) * weights).sum(), vectors)
    torch.testing.assert_close(through, plain)


def test_unused_codes_move_onto_vectors_of_images():
    made = VectorQuantizer(4, 2)
    before = made.embedding.weight.clone()
    vectors = torch.tensor([[3.0, 4.0], [0.0, -2.0], [1.0, 0.0]])
    moved = made.revive(torch.tensor([5, 0, 1, 0]), vectors, torch.tensor([2, 0, 1]))
    assert moved == 2
    assert torch.equal(made.embedding.weight[[0, 2]], before[[0, 2]])
    torch.testing.assert_close(made.embedding.weight[[1, 3]], torch.tensor([[1.0, 0.0], [0.6, 0.8]]))


def test_perplexity():
    assert perplexity(torch.arange(8), 8) == pytest.approx(8)
    assert perplexity(torch.zeros(9, dtype=torch.long), 8) == pytest.approx(1)
    # shares 1/2, 1/4, 1/4: entropy 1.5 bits
    assert perplexity(torch.tensor([0, 0, 1, 2]), 512) == pytest.approx(2**1.5)
