"""claims/tokenflex.py: its pictures are four digits, arms have equal work, one short run is reproducible."""

import torch
from benchmarks.claims import tokenflex

from oneloop.sample.data.digits import load, rows_of


def test_pictures_are_four_digits_of_their_split():
    shown, digits = tokenflex.pictures("test", 5, 0, 0)
    images, labels = (each[rows_of("test")] for each in load())
    known = {image.tobytes(): label for image, label in zip(images[:, 0], labels, strict=True)}
    quarters = [shown[2, 0, a : a + 8, b : b + 8].contiguous() for a in (0, 8) for b in (0, 8)]
    assert [known[quarter.numpy().tobytes()] for quarter in quarters] == digits[2].tolist()


def test_any_square_number_of_tokens_is_read():
    model = tokenflex.Reader()
    shown, _ = tokenflex.pictures("train", 3, 0, 0)
    for tokens in (*tokenflex.BUDGETS, tokenflex.UNSEEN):
        assert model(shown, tokens).shape == (3, 4, 10)


def test_one_run_is_reproducible_and_arms_have_equal_work(monkeypatch):
    monkeypatch.setattr(tokenflex, "STEPS", 6)
    monkeypatch.setattr(tokenflex, "TESTED", 20)
    rows = {arm.name: tokenflex.train(arm.name, 3e-3, 0) for arm in tokenflex.CLAIM.arms}
    assert rows["flexible"] == tokenflex.train("flexible", 3e-3, 0)
    assert [row["work"] for row in rows.values()] == [192.0, 192.0, 3 * 192.0]
    assert rows["flexible"]["one for all"] == rows["flexible"]["mean"]
    assert tokenflex.headline(rows) == rows["flexible"]["mean"] - rows["a third each"]["mean"]
    assert all(0 <= value <= 1 for row in rows.values() for name, value in row.items() if name != "work")
    ours, again = (tokenflex.learned((4,), 2, 3e-3, 1).head.weight for _ in range(2))
    assert torch.equal(ours, again)
