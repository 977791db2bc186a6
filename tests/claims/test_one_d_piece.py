"""The claim about dropping tails: its arms on two steps of training, its headline, its baselines."""

import json
from dataclasses import replace

import pytest
import torch
from benchmarks.claims import one_d_piece, one_d_piece_emoji, one_d_piece_price
from benchmarks.claims.one_d_piece import ARMS, PRICE, whole
from benchmarks.claims.one_d_piece.training import DIGITS, EMOJI, ToldDecoder, emoji
from PIL import Image
from sklearn.decomposition import PCA

from oneloop.models.image_tokenizer.one_d_piece import OneDPiece

IMAGES = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def images():
    return IMAGES[:30], IMAGES[30:]


@pytest.fixture
def tiny():
    model = OneDPiece(tokens=4, patch=4, hidden_size=16, heads=2, layers=1, codebook_size=16)
    sizes = {"steps": 6, "lengths": (1, 2, 4), "batch": 8}
    whole.cache_clear()
    yield replace(DIGITS, model=model, images=images, **sizes)
    whole.cache_clear()


def test_arms_take_the_same_work_and_are_measured_at_the_same_lengths(tiny):
    rows = {arm: one_d_piece.train(tiny, arm, 1e-3, 0) for arm in ARMS}
    quality = {"digits, dB at 1", "digits, dB at 2", "digits, dB at 4"}
    for arm, row in rows.items():
        assert row["work"] == 6 * 8 and quality < set(row)
        assert row["digits, half"] == pytest.approx((row["digits, dB at 1"] + row["digits, dB at 2"]) / 2)
        assert row["score"] == row["digits, dB at 4" if arm == PRICE else "digits, half"]
    # one training, two ways to choose its rate
    assert rows[PRICE]["digits, half"] == rows["nothing dropped"]["digits, half"]
    assert rows["tails dropped"] == one_d_piece.train(tiny, "tails dropped", 1e-3, 0)
    assert one_d_piece.headline(tiny, rows) == pytest.approx(
        rows["tails dropped"]["digits, half"] - rows["nothing dropped"]["digits, half"]
    )


def test_arms_differ_in_the_lengths_they_are_trained_at(tiny, monkeypatch):
    asked = []

    def trained(setting, lengths, rate, seed, steps):
        asked.append((list(lengths.budgets), steps))
        return setting.model.build()

    monkeypatch.setattr(one_d_piece, "trained", trained)
    for arm in ARMS:
        one_d_piece.train(tiny, arm, 1e-3, 0)
    assert asked == [
        ([1, 2, 3, 4], 6),
        ([4], 6),
        ([1], 2),
        ([2], 2),
        ([4], 2),
    ]


def test_what_has_no_setting(tiny):
    said = []
    rows = one_d_piece.run(tiny, 0, said.append)
    assert len(said) == one_d_piece.CLAIM.units == 1
    assert {"mean image", "PCA, real numbers", "digits: webp, quality 0"} < set(rows)
    assert rows["digits: first 2 codes"]["payload bytes"] == 1  # two codes of four bits
    assert rows["digits: webp, quality 0"]["file bytes"] > 20
    train, test = (side.flatten(1).numpy() for side in images())
    pca = PCA(2, random_state=0).fit(train)
    back = pca.inverse_transform(pca.transform(test)).clip(0, 1)
    wanted = -10 * torch.log10(torch.as_tensor((back - test) ** 2).mean(1)).mean()
    assert rows["PCA, real numbers"]["digits, dB at 2"] == pytest.approx(float(wanted), abs=1e-4)


def test_both_data_sets_are_measured_alike():
    for claim, setting in ((one_d_piece.CLAIM, DIGITS), (one_d_piece_emoji.CLAIM, EMOJI)):
        half = f"{setting.name}, half"
        rows = {"tails dropped": {half: 14.0, "score": 1.0}, "nothing dropped": {half: 11.0, "score": 0.0}}
        assert claim.headline(rows) == 3.0 and claim.score(rows["tails dropped"]) == 1.0
        assert claim.train.args == claim.run.args == (setting,)
        assert [arm.name for arm in claim.arms] == list(ARMS)[: len(claim.arms)] and len(claim.arms) > 2


def picture(folder, name, level):
    Image.new("RGBA", (64, 64), (level, 0, 0, 255)).save(folder / "img" / "twitter" / "64" / name)


def test_no_twin_of_an_emoji_that_is_learned_from_is_tested(tmp_path, monkeypatch):
    monkeypatch.setenv("ONELOOP_EMOJI", str(tmp_path))
    emoji.cache_clear()
    with pytest.raises(FileNotFoundError, match="npm pack"):
        emoji()
    (tmp_path / "img" / "twitter" / "64").mkdir(parents=True)
    entries = []
    for n in range(40):
        variants = {"dark": {"image": f"{n}-dark.png"}, "lost": {"image": f"{n}-lost.png"}}
        for name in (f"WOMAN: NUMBER {n}", f"number {n} person facing right"):
            entries.append({"name": name, "image": f"{len(entries)}.png"})
            picture(tmp_path, f"{len(entries) - 1}.png", n)
        entries[-1]["skin_variations"] = variants  # of one of them a file is missing
        picture(tmp_path, f"{n}-dark.png", n)
    (tmp_path / "emoji.json").write_text(json.dumps(entries))
    train, test = emoji()
    levels = [{round(float(each[0, 0, 0]) * 255) for each in side} for side in (train, test)]
    assert levels[0] | levels[1] == set(range(40)) and not levels[0] & levels[1] and levels[1]
    assert len(train) + len(test) == 120 and train.shape[1:] == (3, 32, 32)
    emoji.cache_clear()


def test_arms_that_may_lower_the_price_see_other_lengths(tiny, monkeypatch):
    longer = replace(tiny, steps=18)  # the law that follows progress changes after its second look
    monkeypatch.setattr(one_d_piece_price, "DIGITS", longer)
    rows = {arm: one_d_piece_price.train(arm, 1e-2, 0) for arm in one_d_piece_price.arms(tiny)}
    assert len({row["digits, dB at 4"] for row in rows.values()}) == len(rows)
    assert (
        rows["tails dropped"]["digits, half"]
        == one_d_piece.train(longer, "tails dropped", 1e-2, 0)["digits, half"]
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
