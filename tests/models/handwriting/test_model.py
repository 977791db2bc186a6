import json

import pytest
import torch

from oneloop.models.handwriting.config import HandwritingConfig
from oneloop.models.handwriting.model import HandwritingModel
from tests.models.handwriting.tiny import config, references, tiny
from tests.support.rounding import room

pytest.importorskip("diffusers")
TEXTS, WIDTHS = ("a", "bcdef", "gh"), (9, 33, 16)


@pytest.mark.parametrize("options", [{}, {"edges": "none"}, {"stride": 8, "blocks": 2}, {"gated": False}])
def test_a_word_is_the_same_alone_and_in_a_padded_batch(options):
    model, pictures = tiny(**options), references(*WIDTHS)
    z, t = torch.randn(1, 4, 4, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([321])

    @torch.no_grad()
    def seen(moved):
        other = tiny(**options)
        moved(other)
        told = other.condition(pictures, TEXTS)
        made = other(z.expand(len(TEXTS), *z.shape[1:]), t.expand(len(TEXTS)), told)
        return torch.cat([x.flatten() for x in (told["z_spatial"], told["z_high"], told["context"], made)])

    close = {"atol": room(seen), "rtol": 0}
    with torch.no_grad():
        batch = model.condition(pictures, TEXTS)
        for row, text in enumerate(TEXTS):
            alone = model.condition([pictures[row]], [text])
            for name in ("z_spatial", "z_high"):
                torch.testing.assert_close(batch[name][row], alone[name][0], **close)
            torch.testing.assert_close(batch["context"][row, : len(text)], alone["context"][0], **close)
            mine = {name: value[row : row + 1] for name, value in batch.items()}
            torch.testing.assert_close(model(z, t, mine), model(z, t, alone), **close)


def test_text_and_hand_are_both_seen():
    model, pictures = tiny(), references(16, 16)
    z, t = torch.randn(1, 4, 4, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([500])
    with torch.no_grad():
        said = [
            model(z, t, model.condition([pictures[hand]], [text]))
            for hand, text in ((0, "ab"), (0, "ba"), (1, "ab"))
        ]
    assert (said[0] - said[1]).abs().max() > 1e-4
    assert (said[0] - said[2]).abs().max() > 1e-5


def test_a_gate_without_weights_halves_the_features():
    model, pictures = tiny(), references(16)
    told = model.told(pictures, ["ab"])
    open_ = tiny(gated=False)
    open_.style.load_state_dict({k: v for k, v in model.style.state_dict().items() if "gate" not in k})
    with torch.no_grad():
        model.style.gate.weight.zero_()
        model.style.gate.bias.zero_()
        seen = [each.look(told["pictures"], told["edges"], told["widths"]) for each in (model, open_)]
    torch.testing.assert_close(seen[0].gate, torch.full_like(seen[0].gate, 0.5))
    torch.testing.assert_close(seen[0].spatial, seen[1].spatial / 2, atol=0, rtol=0)
    torch.testing.assert_close(seen[0].high, seen[1].high, atol=0, rtol=0)


def test_a_gate_is_no_mask():
    """Memory tokens that are all alike give the same answer whatever their number."""
    low, exact = tiny().fusion.low.double(), {"dtype": torch.float64}
    x = torch.randn(1, 2, 16, generator=torch.Generator().manual_seed(0), **exact)
    mask = torch.ones(1, 2).bool()
    with torch.no_grad():
        answers = [
            low(x, mask, torch.zeros(1, count, 16, **exact), torch.ones(1, count).bool()) for count in (1, 7)
        ]
    torch.testing.assert_close(answers[0], answers[1], atol=1e-12, rtol=0)


def test_a_saved_model_is_the_same_model(tmp_path):
    model = tiny(stride=8)
    model.save_pretrained(tmp_path / "a")
    loaded = HandwritingModel.from_pretrained(tmp_path / "a")
    assert loaded.config == model.config
    assert not loaded.training
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"config.json", "model.safetensors"}
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, loaded.state_dict()[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(model_type="bert"), "is not of a handwriting model"),
        (lambda c: c.update(width=3), "has options that a handwriting model does not: width"),
        (lambda c: c.update(height=9), "height must be a multiple of 4, got 9; nearest: 8"),
        (lambda c: c.update(hidden_size=32), "holds no weights of this handwriting model"),
    ],
)
def test_a_folder_that_cannot_be_loaded_is_refused_in_words(tmp_path, change, message):
    tiny().save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    change(written)
    (tmp_path / "config.json").write_text(json.dumps(written))
    with pytest.raises(ValueError, match=message):
        HandwritingModel.from_pretrained(tmp_path)


def test_a_folder_without_a_model_is_refused_in_words(tmp_path):
    with pytest.raises(ValueError, match=r"there is no config\.json in it"):
        HandwritingModel.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"letter_width": 6}, "letter_width must be a multiple of 4, got 6; nearest: 4"),
        ({"hidden_size": 12}, "hidden_size must be a multiple of 8 and of twice heads = 2, got 12"),
        ({"hidden_size": 8}, "hidden_size must be at least 16, got 8"),
        ({"channels": (8, 20)}, r"multiples of 8 and of heads = 2, got \[20\]"),
        ({"stride": 16}, "height must be at least the stride 16, got 8"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_in_words(options, message):
    with pytest.raises(ValueError, match=message):
        config(**options)


def test_the_papers_size():
    big = HandwritingConfig(
        height=64,
        letter_width=32,
        letters=9,
        hidden_size=512,
        layers=3,
        blocks=2,
        stride=16,
        channels=(512, 512),
        attention="first",
        autoencoder="of Stable Diffusion",
    )
    with torch.device("meta"):
        model = HandwritingModel(big)
        small = HandwritingModel(HandwritingConfig())
    count = [sum(p.numel() for p in each.parameters()) for each in (model.denoiser, small)]
    assert count[0] == pytest.approx(90.8e6, rel=1e-3)  # measured with diffusers, in the specification
    assert count[1] < 1e6
