"""claims/tokenflex_llava.py: what its pictures show, what it is told and writes; a short run of each arm."""

import pytest
import torch
from benchmarks.claims import tokenflex_llava
from benchmarks.claims.tokenflex_llava import ARMS, CLAIM, Reader

from oneloop.sample.data.digits import load, rows_of


@pytest.fixture(autouse=True)
def short(monkeypatch):
    for name, value in {"STEPS": 6, "TESTED": 5, "SEEN": 3, "BATCH": 4}.items():
        monkeypatch.setattr(tokenflex_llava, name, value)
    tokenflex_llava.tower.cache_clear()
    yield
    tokenflex_llava.tower.cache_clear()


def test_pictures_are_nine_digits_of_their_split():
    shown, digits = tokenflex_llava.pictures("test", 3, 0, 0)
    images, labels = (each[rows_of("test")] for each in load())
    known = {image.tobytes(): label for image, label in zip(images[:, 0], labels, strict=True)}
    cells = [shown[1, 2, a : a + 8, b : b + 8] for a in (0, 8, 16) for b in (0, 8, 16)]
    assert [known[((cell + 1) / 2).contiguous().numpy().tobytes()] for cell in cells] == digits[1].tolist()


def test_a_digit_is_told_by_the_picture_and_the_digits_before_it():
    reader = Reader(0)
    reader.model.eval()
    shown, digits = tokenflex_llava.pictures("test", 2, 0, 0)
    for tokens in (*tokenflex_llava.BUDGETS, *tokenflex_llava.UNSEEN):
        logits = reader.logits(shown, digits, tokens)
        assert logits.shape[:2] == (2, 9)
    changed = digits.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 10
    with torch.no_grad():
        moved = (reader.logits(shown, changed, 9) - reader.logits(shown, digits, 9)).abs().amax(-1)
        other = (reader.logits(shown.flip(3), digits, 9) - reader.logits(shown, digits, 9)).abs().amax(-1)
    assert moved[:, :5].max() < 1e-5 < moved[:, 5:].min() and other.min() > 1e-5


def test_what_is_written_is_what_is_likeliest_given_what_was_written():
    reader = tokenflex_llava.learned((9,), 6, 1e-2, 0)
    shown, digits = tokenflex_llava.pictures("test", tokenflex_llava.TESTED, 0, 0)
    ids = reader.asked(len(shown), 9)
    with torch.no_grad():
        for _ in range(9):
            said = reader.model(input_ids=ids, pixel_values=shown, num_image_tokens=9).logits[:, -1]
            said[:, reader.model.generation_config.eos_token_id or 0] = -torch.inf
            ids = torch.cat([ids, said.argmax(-1, keepdim=True)], 1)
    wanted = float((ids[:, -9:] == reader.digits[digits]).double().mean())
    assert reader.accuracy(9, 0) == pytest.approx(wanted)


def test_arms_differ_in_the_numbers_they_learn_from_and_are_chosen_by_what_they_are_for(monkeypatch):
    asked, learned = [], tokenflex_llava.learned
    monkeypatch.setattr(tokenflex_llava, "learned", lambda *each: asked.append(each[:2]) or learned(*each))
    rows = {arm: tokenflex_llava.train(arm, 1e-2, 0) for arm in ARMS}
    assert asked == [((4, 9, 36), 6), ((4,), 6), ((9,), 6), ((36,), 6), ((4,), 2), ((9,), 2), ((36,), 2)]
    assert {row["work"] for row in rows.values()} == {24.0}
    assert rows["made for 9"]["score"] == rows["made for 9"]["at 9"]
    for arm in ("flexible", "a third each"):
        assert rows[arm]["score"] == rows[arm]["mean"]
    assert rows["flexible"] == tokenflex_llava.train("flexible", 1e-2, 0)
    fixed = max(rows[f"made for {budget}"]["mean"] for budget in (4, 9, 36))
    assert CLAIM.headline(rows) == (rows["flexible"]["mean"], fixed)
