import copy
import re

import pytest
import torch

from oneloop.models.image_tokenizer.config import TokenizerConfig
from oneloop.models.image_tokenizer.encoder import legacy_tokens
from oneloop.models.image_tokenizer.tokenizer import OneDTokenizer
from tests.models.image_tokenizer.tiny import pictures, tiny
from tests.support.rounding import room


def test_a_prefix_decodes_as_the_whole_list_cut():
    tokenizer, images = tiny(), pictures(3)
    indices = tokenizer.encode(images)
    assert indices.shape == (3, 7)
    for length in range(1, 8):
        assert torch.equal(tokenizer.decode(indices, length), tokenizer.decode(indices[:, :length]))
    assert torch.equal(tokenizer.decode(indices, 7), tokenizer.decode(indices))
    assert not torch.allclose(tokenizer.decode(indices, 1), tokenizer.decode(indices), atol=1e-3)


def test_lengths_of_a_batch_give_what_each_image_gives_alone():
    tokenizer, images = tiny(), pictures(5)
    indices, lengths = tokenizer.encode(images), torch.tensor([3, 1, 7, 2, 6])
    together = tokenizer.decode(indices, lengths)
    gap = room(lambda move: move(copy.deepcopy(tokenizer)).decode(indices, lengths))
    for row, length in enumerate(lengths.tolist()):
        alone = tokenizer.decode(indices[row, :length])
        torch.testing.assert_close(together[row : row + 1], alone, atol=gap, rtol=0)


def test_nothing_is_dropped_unless_lengths_say_so():
    tokenizer, images = tiny().train(), pictures(2)
    torch.testing.assert_close(tokenizer(images).image, tokenizer(images, 7).image, rtol=0, atol=0)
    indices = tokenizer.encode(images)
    gap = room(lambda move: move(copy.deepcopy(tokenizer)).decode(indices))
    torch.testing.assert_close(
        tokenizer(images).image.clamp(0, 1), tokenizer.decode(indices), rtol=0, atol=gap
    )


def test_dropped_tokens_have_a_gradient_of_the_quantiser_alone():
    tokenizer, images = tiny(), pictures(2)
    vectors = tokenizer.vectors(images).detach().requires_grad_()
    codes, _, loss = tokenizer.quantize(vectors)
    (of_image,) = torch.autograd.grad(tokenizer.render(codes, 3).square().sum(), vectors, retain_graph=True)
    (of_loss,) = torch.autograd.grad(loss.sum(), vectors)
    assert torch.equal(of_image[:, 3:], torch.zeros_like(of_image[:, 3:]))
    assert (of_image[:, :3].abs().sum(-1) > 0).all() and (of_loss.abs().sum(-1) > 0).all()


def test_the_legacy_order_of_the_worked_example():
    rows = torch.tensor([[[n, 10 * n] for n in range(10)]])
    assert legacy_tokens(rows)[0, 0].tolist() == [0, 5]
    right, wrong = tiny(), tiny(legacy_reshape=True)
    assert right.state_dict().keys() == wrong.state_dict().keys()
    assert not torch.allclose(right.vectors(pictures(1)), wrong.vectors(pictures(1)))


def test_a_token_of_the_encoder_is_made_of_its_own_output():
    """In the right order, what token l is does not depend on the outputs of the other latent tokens."""
    tokenizer = tiny()
    caught = {}
    tokenizer.encoder.ln_post.register_forward_hook(lambda _, given, out: caught.update(out=out))
    vectors = tokenizer.vectors(pictures(1))
    weight, bias = tokenizer.encoder.conv_out.weight[..., 0, 0], tokenizer.encoder.conv_out.bias
    torch.testing.assert_close(vectors, caught["out"] @ weight.T + bias)


def test_tokens_may_come_as_one_list_or_with_a_row():
    tokenizer = tiny()
    indices = tokenizer.encode(pictures(1))
    whole = tokenizer.decode(indices)
    assert torch.equal(tokenizer.decode(indices[0]), whole)
    assert torch.equal(tokenizer.decode(indices[:, None]), whole)
    assert tokenizer.decode(indices[:, :1]).shape == (1, 1, 8, 8)


@pytest.mark.parametrize(
    ("lengths", "said"),
    [
        (0, "lengths must lie in 1..7, got 0"),
        (-1, "lengths must lie in 1..7, got -1"),
        (8, "lengths must lie in 1..7, got 8"),
        (2.0, "lengths must be a whole number"),
        (True, "lengths must be a whole number"),
        (torch.tensor([1, 2, 3]), "3 lengths for 2 images"),
        (torch.tensor([1, 9]), "got 9"),
    ],
)
def test_lengths_that_are_none(lengths, said):
    tokenizer = tiny()
    with pytest.raises(ValueError, match=re.escape(said)):
        tokenizer.decode(tokenizer.encode(pictures(2)), lengths)


@pytest.mark.parametrize(
    ("indices", "said"),
    [
        (torch.tensor([[0, 32]]), "0..31, got 0 to 32"),
        (torch.tensor([[-1, 3]]), "0..31, got -1 to 3"),
        (torch.tensor([[0.0]]), "whole numbers"),
        (torch.zeros(1, 8, dtype=torch.long), "K in 1..7"),
        (torch.zeros(1, 0, dtype=torch.long), "K in 1..7"),
        (torch.zeros(2, 2, 2, dtype=torch.long), "K in 1..7"),
    ],
)
def test_tokens_that_are_none(indices, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        tiny().decode(indices)


def test_images_of_another_size():
    with pytest.raises(ValueError, match=re.escape("images must be [b, (1, 8, 8)], got (2, 1, 9, 8)")):
        tiny().encode(torch.zeros(2, 1, 9, 8))


def test_it_is_saved_and_loaded_to_the_bit(tmp_path):
    tokenizer, images = tiny(), pictures(3)
    tokenizer.save_pretrained(tmp_path / "saved")
    again = OneDTokenizer.from_pretrained(tmp_path / "saved")
    assert again.config == tokenizer.config
    assert torch.equal(again(images, 4).image, tokenizer(images, 4).image)
    assert again.digest() == tokenizer.digest()


def test_the_digest_is_that_of_the_decoder():
    tokenizer = tiny()
    before = tokenizer.digest()
    with torch.no_grad():
        tokenizer.encoder.conv_out.bias.add_(1)
    assert tokenizer.digest() == before and len(before) == 16
    with torch.no_grad():
        tokenizer.decoder.background.add_(1e-3)
    assert tokenizer.digest() != before


def test_folders_that_hold_no_tokenizer(tmp_path):
    with pytest.raises(ValueError, match="holds no tokenizer"):
        OneDTokenizer.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"kind": "llama"}')
    with pytest.raises(ValueError, match="describes no one_d_piece tokenizer"):
        OneDTokenizer.from_pretrained(tmp_path)
    tiny().save_pretrained(tmp_path)
    TokenizerConfig(**{**tiny().config.__dict__, "layers": 3}).write(tmp_path)
    with pytest.raises(ValueError, match="lacks decoder.transformer.2"):
        OneDTokenizer.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot read"):
        OneDTokenizer.from_pretrained(tmp_path)


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="image_size must be a multiple of patch"):
        TokenizerConfig(image_size=9)
    with pytest.raises(ValueError, match="hidden_size must be a multiple of heads"):
        TokenizerConfig(hidden_size=10)
    with pytest.raises(ValueError, match="16 pixels of a patch, but patch is 8"):
        TokenizerConfig(image_size=16, patch=8, predicts="codes")


def test_dropping_tails_orders_linear_tokens_as_principal_components():
    """The error of the first K of N linear tokens, over all K, is least where they are the PCA axes."""
    torch.manual_seed(0)
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    covariance = turn @ torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0], dtype=torch.float64)) @ turn.T
    encode = torch.randn(4, 4, dtype=torch.float64).requires_grad_()
    decode = torch.randn(4, 4, dtype=torch.float64).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [encode, decode], max_iter=400, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def expected():
        total = 0.0
        for length in range(1, 5):
            error = torch.eye(4, dtype=torch.float64) - decode[:, :length] @ encode[:length]
            total = total + torch.trace(error @ covariance @ error.T) / 4
        return total

    def closure():
        optimizer.zero_grad()
        loss = expected()
        loss.backward()
        return loss

    for _ in range(5):
        optimizer.step(closure)
    # sum_j l_j j / N for l = (4, 3, 2, 1)
    assert float(expected()) == pytest.approx(2.5, abs=1e-3)
    axes = decode.detach() / decode.detach().norm(dim=0)
    torch.testing.assert_close((axes.T @ turn).abs(), torch.eye(4, dtype=torch.float64), atol=1e-3, rtol=0)
