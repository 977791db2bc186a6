import copy
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from oneloop.models.judges.ctc_reader import CtcReader, ReaderConfig, ctc
from oneloop.models.judges.fit_reader import drawn, fit_reader, fitted
from tests.support.rounding import room

CONFIG = ReaderConfig(alphabet="abc", height=16, channels=(4, 8), hidden_size=8)


@pytest.fixture
def reader():
    return CtcReader(CONFIG, seed=1).eval()


def pictures(*widths, height=16, seed=0):
    """Random words with paper at both ends, padded with paper: ([b, 1, H, W], widths)."""
    generator = torch.Generator().manual_seed(seed)
    made = [torch.rand(1, height, width, generator=generator) for width in widths]
    for each in made:
        each[..., :2] = each[..., -2:] = 1
    padded = [F.pad(each, (0, max(widths) - each.shape[-1]), value=1.0) for each in made]
    return torch.stack(padded), torch.tensor(widths)


@pytest.mark.parametrize(
    ("columns", "text", "nll", "feasible"),
    [(2, [1], -math.log(0.75), True), (3, [1, 1], math.log(8), True), (2, [1, 1], 0.0, False)],
)
def test_ctc_of_uniform_columns(columns, text, nll, feasible):
    even = torch.full((1, columns, 2), 0.5).log()
    losses, possible = ctc(even, torch.tensor([columns]), [text])
    assert losses.tolist() == pytest.approx([nll], abs=1e-6)
    assert possible.tolist() == [feasible]


def test_a_text_that_does_not_fit_has_no_gradient():
    law = torch.zeros(2, 3, 3, requires_grad=True)
    losses, feasible = ctc(law.log_softmax(-1), torch.tensor([3, 2]), [[1, 2], [1, 1]])
    losses.sum().backward()
    assert feasible.tolist() == [True, False]
    assert law.grad[0].abs().sum() > 0 and law.grad[1].abs().sum() == 0


def test_a_word_reads_the_same_alone_and_in_a_batch(reader):
    """Running statistics other than 0 and 1, so that padding would be seen."""
    with torch.no_grad():
        for norm in reader.trunk.norms:
            norm.running_mean.fill_(0.1)
            norm.bias.fill_(0.3)
    for height in (16, 20):
        images, widths = pictures(13, 40, 22, height=height)
        law, columns = reader(images, widths)
        gap = room(lambda move, told=(images, widths): move(copy.deepcopy(reader))(*told)[0])
        for row, width in enumerate(widths.tolist()):
            alone, count = reader(images[row : row + 1, ..., :width], widths[row : row + 1])
            assert count.tolist() == columns[row : row + 1].tolist()
            torch.testing.assert_close(law[row, : count[0]], alone[0, : count[0]], atol=gap, rtol=0)
        assert law.exp().sum(-1).allclose(torch.ones(()), rtol=0, atol=8 * torch.finfo(law.dtype).eps)


def test_it_is_differentiable_in_eval_mode(reader):
    images, widths = pictures(24, 24)
    images.requires_grad_(True)
    losses, _ = reader.requires_grad_(False).losses(images, ["ab", "c"], widths)
    losses.sum().backward()
    assert images.grad is not None and (images.grad.flatten(1).abs().sum(1) > 0).all()
    assert all(weight.grad is None for weight in reader.parameters())


def test_the_likelihood_is_a_probability_over_texts(reader):
    """All texts of at most three characters over a, b, c in a word of three columns sum to 1."""
    images, widths = pictures(6)
    texts = [[]]
    for _ in range(3):
        texts += [text + [each] for text in texts for each in (1, 2, 3)]
    texts = [list(text) for text in {tuple(text) for text in texts} if text]
    law, columns = reader(images, widths)
    assert columns.tolist() == [3]
    losses, feasible = ctc(law.expand(len(texts), -1, -1), columns.expand(len(texts)), texts)
    empty = law[0, :, 0].sum().exp()
    total = (-losses).exp()[feasible].sum() + empty
    assert float(total.detach()) == pytest.approx(1, abs=1e-5)


def test_saved_and_loaded(reader, tmp_path):
    reader.save(tmp_path / "reader")
    again = CtcReader.load(tmp_path / "reader")
    assert again.config == CONFIG and not again.training
    images, _ = pictures(20)
    assert torch.equal(again(images)[0], reader(images)[0])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", None, "holds no ctc_reader: there is no config.json"),
        ("config.json", "{", "config.json cannot be read"),
        ("config.json", '{"model_type": "one_dm"}', "is not of a ctc_reader"),
        ("config.json", '{"model_type": "ctc_reader", "channels": [4, 8], "deep": 1}', "deep"),
        ("config.json", '{"model_type": "ctc_reader", "channels": [4, 8, 9]}', "cannot be loaded"),
        ("model.safetensors", "nothing", "model.safetensors cannot be loaded"),
    ],
)
def test_folders_without_a_reader(reader, tmp_path, name, content, said):
    reader.save(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=said):
        CtcReader.load(tmp_path)


def test_what_cannot_be_asked(reader):
    images, widths = pictures(20)
    with pytest.raises(ValueError, match="does not know 'x', 'é' of 'axé'"):
        reader.losses(images, ["axé"], widths)
    with pytest.raises(ValueError, match="an empty text"):
        reader.losses(images, [""], widths)
    with pytest.raises(ValueError, match=r"pictures of words are \[b, c, H, W\], got \(16, 20\)"):
        reader(images[0, 0])
    with pytest.raises(ValueError, match="height must be a multiple of 4 for 2 layers, got 10"):
        CtcReader(ReaderConfig(height=10, channels=(4, 8)))
    with pytest.raises(ValueError, match="alphabet: each character once"):
        ReaderConfig(alphabet="aa")


class Bars:
    """Words of a and b: a is a bar at the top, b one at the bottom."""

    def __len__(self):
        return 6

    def __getitem__(self, key):
        if not 0 <= key < 6:
            raise IndexError(key)
        text = bin(key + 2)[3:].replace("0", "a").replace("1", "b")
        image = np.ones((1, 16, 6 * len(text) + 2), np.float32)
        for place, letter in enumerate(text):
            top = 2 if letter == "a" else 10
            image[0, top : top + 4, 6 * place + 2 : 6 * place + 6] = 0
        return {"prompt": text, "image": np.pad(image, ((0, 0), (0, 0), (0, 5))), "width": image.shape[2]}


def test_a_reader_learns_to_read_and_to_ignore_paper(tmp_path):
    torch_state = torch.get_rng_state()
    losses = []
    data = Bars()
    config = ReaderConfig(alphabet="ab", height=16, channels=(4, 8), hidden_size=8)
    reader = fit_reader(
        data, config, steps=60, batch=6, learning_rate=0.03, advance=lambda step, loss: losses.append(loss)
    )
    assert len(losses) == 60 and torch.equal(torch.get_rng_state(), torch_state)
    images, widths, rows = drawn(data, 0, 12, seed=9)
    texts = [row["prompt"] for row in rows]
    assert reader.read(images, widths) == texts
    assert reader.read(F.pad(images, (0, 20), value=1.0)) == texts
    assert fitted(tmp_path / "reader", lambda: reader).read(images, widths) == texts
    assert fitted(tmp_path / "reader", lambda: pytest.fail("it is there")).read(images, widths) == texts


def test_training_repeats_to_the_bit():
    config = ReaderConfig(alphabet="ab", height=16, channels=(4,), hidden_size=4)
    one, two = (fit_reader(Bars(), config, steps=3, batch=4, seed=2) for _ in range(2))
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b)
