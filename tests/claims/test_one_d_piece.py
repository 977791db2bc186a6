"""The claim about dropping tails: its columns on two steps of training, its headline, its baselines."""

from dataclasses import replace

import pytest
import torch
from benchmarks.claims import one_d_piece
from sklearn.decomposition import PCA

from oneloop.models.image_tokenizer.one_d_piece import OneDPiece


def tiny():
    images = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    model = OneDPiece(tokens=4, patch=4, hidden_size=16, heads=2, layers=1, codebook_size=16)
    return replace(
        one_d_piece.DIGITS,
        model=model,
        images=lambda: (images[:30], images[30:]),
        steps=2,
        lengths=(1, 2, 4),
        specialists=(2,),
    )


def test_one_seed_gives_every_row():
    said = []
    rows = one_d_piece.compared(tiny(), 0, said.append)
    assert len(said) == 3
    assert {
        "tails dropped",
        "nothing dropped",
        "trained at 2",
        "gain",
        "mean image",
        "PCA, real numbers",
    } < set(rows)
    for length in (1, 2, 4):
        gained = rows["tails dropped"][f"dB at {length}"] - rows["nothing dropped"][f"dB at {length}"]
        assert rows["gain"][f"dB at {length}"] == pytest.approx(gained)
    half = (rows["gain"]["dB at 1"] + rows["gain"]["dB at 2"]) / 2
    assert rows["gain"]["dB, up to half"] == pytest.approx(half)
    assert rows["tokens, first 2"]["payload bytes"] == 1 and rows["webp, quality 0"]["file bytes"] > 20


def test_the_headline_is_the_lower_of_the_data_sets():
    rows = {"digits: gain": {"dB, up to half": 3.0}, "emoji: gain": {"dB, up to half": 1.0}, "digits: x": {}}
    assert one_d_piece.headline(rows) == 1.0


def test_pca_keeps_as_many_numbers_as_there_are_tokens():
    setting = tiny()
    train, test = (side.flatten(1).numpy() for side in setting.images())
    pca = PCA(2, random_state=0).fit(train)
    back = pca.inverse_transform(pca.transform(test)).clip(0, 1)
    wanted = -10 * torch.log10(torch.as_tensor((back - test) ** 2).mean(1)).mean()
    assert one_d_piece.simple(setting)["PCA, real numbers"]["dB at 2"] == pytest.approx(
        float(wanted), abs=1e-4
    )
