"""The claim about dropping tails: its arms on two steps of training, its headline, its baselines."""

from dataclasses import replace

import pytest
import torch
from benchmarks.claims import one_d_piece, one_d_piece_price
from benchmarks.claims.one_d_piece import ARMS, PRICE, whole
from benchmarks.claims.one_d_piece.training import ToldDecoder
from sklearn.decomposition import PCA

from oneloop.models.image_tokenizer.one_d_piece import OneDPiece

IMAGES = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def images():
    return IMAGES[:30], IMAGES[30:]


@pytest.fixture
def tiny(monkeypatch):
    model = OneDPiece(tokens=4, patch=4, hidden_size=16, heads=2, layers=1, codebook_size=16)
    sizes = {"steps": 6, "lengths": (1, 2, 4), "batch": 8}
    made = replace(one_d_piece.DIGITS, model=model, images=images, **sizes)
    monkeypatch.setattr(one_d_piece, "DIGITS", made)
    monkeypatch.delenv("ONELOOP_EMOJI", raising=False)
    whole.cache_clear()
    yield made
    whole.cache_clear()


def test_arms_take_the_same_work_and_are_measured_at_the_same_lengths(tiny):
    rows = {arm: one_d_piece.train(arm, 1e-3, 0) for arm in ARMS}
    quality = {"digits, dB at 1", "digits, dB at 2", "digits, dB at 4"}
    for arm, row in rows.items():
        assert row["work"] == 6 * 8 and quality < set(row)
        assert row["digits, half"] == pytest.approx((row["digits, dB at 1"] + row["digits, dB at 2"]) / 2)
        assert row["score"] == row["digits, dB at 4" if arm == PRICE else "digits, half"]
    # one training, two ways to choose its rate
    assert rows[PRICE]["digits, half"] == rows["nothing dropped"]["digits, half"]
    assert rows["tails dropped"] == one_d_piece.train("tails dropped", 1e-3, 0)
    assert one_d_piece.headline(rows) == pytest.approx(
        rows["tails dropped"]["digits, half"] - rows["nothing dropped"]["digits, half"]
    )


def test_arms_differ_in_the_lengths_they_are_trained_at(tiny, monkeypatch):
    asked = []

    def trained(setting, lengths, rate, seed, steps):
        asked.append((list(lengths.budgets), steps))
        return setting.model.build()

    monkeypatch.setattr(one_d_piece, "trained", trained)
    for arm in ARMS:
        one_d_piece.train(arm, 1e-3, 0)
    assert asked == [
        ([1, 2, 3, 4], 6),
        ([4], 6),
        ([1], 2),
        ([2], 2),
        ([4], 2),
    ]


def test_what_has_no_setting(tiny):
    said = []
    rows = one_d_piece.run(0, said.append)
    assert len(said) == one_d_piece.CLAIM.units == 1
    assert {"mean image", "PCA, real numbers", "digits: webp, quality 0"} < set(rows)
    assert rows["digits: first 2 codes"]["payload bytes"] == 1  # two codes of four bits
    assert rows["digits: webp, quality 0"]["file bytes"] > 20
    train, test = (side.flatten(1).numpy() for side in images())
    pca = PCA(2, random_state=0).fit(train)
    back = pca.inverse_transform(pca.transform(test)).clip(0, 1)
    wanted = -10 * torch.log10(torch.as_tensor((back - test) ** 2).mean(1)).mean()
    assert rows["PCA, real numbers"]["digits, dB at 2"] == pytest.approx(float(wanted), abs=1e-4)


def test_the_headline_is_the_lower_of_the_data_sets():
    rows = {
        "tails dropped": {"digits, half": 14.0, "emoji, half": 20.0, "score": 1.0},
        "nothing dropped": {"digits, half": 11.0, "emoji, half": 19.0, "score": 0.0},
    }
    assert one_d_piece.headline(rows) == 1.0


def test_arms_that_may_lower_the_price_see_other_lengths(tiny, monkeypatch):
    longer = replace(tiny, steps=18)  # the law that follows progress changes after its second look
    for module in (one_d_piece, one_d_piece_price):
        monkeypatch.setattr(module, "DIGITS", longer)
    rows = {arm: one_d_piece_price.train(arm, 1e-2, 0) for arm in one_d_piece_price.arms(tiny)}
    assert len({row["digits, dB at 4"] for row in rows.values()}) == len(rows)
    assert (
        rows["tails dropped"]["digits, half"] == one_d_piece.train("tails dropped", 1e-2, 0)["digits, half"]
    )
    assert all(row["work"] == 18 * 8 for row in rows.values())


def test_what_is_won_back_counts_what_is_lost_at_prefixes():
    rows = {"tails dropped": {"digits, half": 17.0, "digits, dB at 8": 18.0}}
    rows["nothing dropped"] = {"digits, half": 11.0, "digits, dB at 8": 21.0}
    rows["powers of two"] = {"digits, half": 16.5, "digits, dB at 8": 19.5}
    assert one_d_piece_price.headline(rows) == (1.0, 3.0)


def test_a_decoder_that_is_told_the_length_begins_as_one_that_is_not(tiny):
    plain = tiny.model.build()
    told = ToldDecoder(plain.config)
    told.load_state_dict(plain.decoder.state_dict(), strict=False)
    codes, there = torch.randn(3, 4, plain.config.code_dims), torch.arange(4) < torch.tensor([[1], [2], [4]])
    with torch.no_grad():
        assert torch.equal(told(codes, there), plain.decoder(codes, there))
        told.length.weight[1] += 1.0
        changed = (told(codes, there) != plain.decoder(codes, there)).flatten(1).any(1)
    assert changed.tolist() == [False, True, False]
