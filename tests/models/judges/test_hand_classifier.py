"""Classifiers of hands: alone as in a batch, learned from pictures, saved and loaded."""

import copy

import pytest
import torch
from torch.nn import functional as F

from oneloop.models.judges.fit_reader import fit_hand_classifier
from oneloop.models.judges.hand_classifier import HandClassifier, HandConfig
from tests.support.rounding import room

CONFIG = HandConfig(writers=("ann", "bo"), height=16, channels=(4, 8), features=8)


def pictures(*widths):
    """Random words padded with paper: ([b, 1, H, W], widths)."""
    generator = torch.Generator().manual_seed(0)
    made = [torch.rand(1, 16, width, generator=generator) for width in widths]
    padded = [F.pad(each, (0, max(widths) - each.shape[-1]), value=1.0) for each in made]
    return torch.stack(padded), torch.tensor(widths)


def test_a_word_is_the_same_alone_and_in_a_batch():
    classifier = HandClassifier(CONFIG, seed=1).eval()
    with torch.no_grad():
        for norm in classifier.trunk.norms:
            norm.bias.fill_(0.3)  # so that padding would be seen
    images, widths = pictures(9, 24, 14)
    with torch.no_grad():
        found = classifier.features(images, widths)
        gap = room(lambda move: move(copy.deepcopy(classifier)).features(images, widths))
        for row, width in enumerate(widths.tolist()):
            alone = classifier.features(images[row : row + 1, ..., :width], widths[row : row + 1])
            torch.testing.assert_close(found[row], alone[0], atol=gap, rtol=0)
        law = classifier(images, widths)
    torch.testing.assert_close(law.exp().sum(1), torch.ones(3))


class Leaning:
    """Two writers: one draws vertical lines, the other horizontal ones."""

    def __len__(self):
        return 12

    def __getitem__(self, key):
        image = torch.ones(1, 16, 20)
        if key % 2:
            image[..., 3 + key % 5 :: 6] = 0
        else:
            image[:, 3 + key % 5 :: 6] = 0
        return {"image": image.numpy(), "width": 20, "writer_name": ("ann", "bo")[key % 2]}


def test_it_learns_two_hands_and_is_loaded_as_it_was_saved(tmp_path):
    data, said = Leaning(), []
    made = fit_hand_classifier(data, CONFIG, steps=25, batch=8, advance=lambda *each: said.append(each))
    again = fit_hand_classifier(data, CONFIG, steps=25, batch=8)
    images = torch.stack([torch.as_tensor(data[key]["image"]) for key in range(12)])
    names = [data[key]["writer_name"] for key in range(12)]
    assert [step for step, _ in said] == list(range(25)) and not made.training
    with torch.no_grad():
        assert torch.equal(made(images).argmax(1), made.classes(names))
        made.save(tmp_path)
        loaded = HandClassifier.load(tmp_path)
        assert torch.equal(loaded(images), made(images)) and torch.equal(again(images), made(images))
    assert loaded.config == CONFIG


def test_what_does_not_fit_is_refused_in_words(tmp_path):
    with pytest.raises(ValueError, match="at least two, each once"):
        HandConfig(writers=("ann",))
    classifier = HandClassifier(CONFIG)
    with pytest.raises(ValueError, match="does not know 'cy', 'di'"):
        classifier.classes(["ann", "di", "cy"])
    with pytest.raises(ValueError, match="holds no hand_classifier"):
        HandClassifier.load(tmp_path)
    classifier.save(tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"features": 8', '"feature": 8'))
    with pytest.raises(ValueError, match=r"config\.json"):
        HandClassifier.load(tmp_path)
