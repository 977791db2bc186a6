"""Whose hand a picture looks like, as the page of `oneloop hands` says it."""

import numpy as np
import pytest
import torch

from oneloop.cli.hands import NEAREST, embedded, nearest, read
from tests.models.handwriting.tiny import TinyOneDm, references

pytest.importorskip("diffusers")


def test_the_nearest_writers_come_first_and_few_are_named():
    names = ["ann", "bo", "cy", "di"]
    found = nearest(torch.tensor([0.1, 0.9, -0.5, 0.4]), names)
    assert [name for name, _ in found] == ["bo", "di", "ann"] and len(found) == NEAREST
    assert [cosine for _, cosine in found] == pytest.approx([0.9, 0.4, 0.1])
    assert nearest(torch.tensor([0.25]), ["ann"]) == [("ann", 0.25)]


def test_a_picture_is_nearest_to_itself_whatever_is_beside_it():
    network, pictures = TinyOneDm().build(), [each.numpy() for each in references(9, 33, 16)]
    found = embedded(network, pictures)
    assert found.shape == (3, 8) and not found.requires_grad
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    for row, picture in enumerate(pictures):
        alone = embedded(network, [picture])
        torch.testing.assert_close(alone[0], found[row], atol=1e-5, rtol=0)
        assert nearest((alone @ found.T)[0], ["a", "b", "c"])[0][0] == "abc"[row]


def test_a_reader_sees_a_picture_as_a_batch_of_one_channel():
    seen = []

    class Reader:
        def read(self, images):
            seen.append(images)
            return ["said"]

    picture = np.full((4, 6), 0.5, dtype=np.float32)[:, ::2]  # not contiguous, as a cut word is not
    assert read(Reader(), picture) == "said" and read(None, picture) is None
    assert seen[0].shape == (1, 1, 4, 3) and (seen[0] == 0.5).all()
