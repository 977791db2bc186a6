"""Data part shapes and judge scene: what is drawn is read back, what is not is not; digits."""

import numpy as np
import pytest
import torch

from oneloop.core.verdicts import JudgeError
from oneloop.judge.scene import Scene
from oneloop.measure import scenes
from oneloop.run.evaluation import held_out
from oneloop.sample.data.digits import Digits
from oneloop.sample.data.shapes import Shapes

DATA = Shapes(size=150, words=("GO", "CAT"))


def scored(image, row):
    return {name: scenes.score(image, scenes.scene_of(row), name) for name in scenes.CRITERIA}


def test_every_criterion_is_met_by_what_was_drawn():
    found = [scored(DATA[key]["image"], DATA[key]) for key in range(150)]
    means = {name: np.mean([each[name] for each in found]) for name in scenes.CRITERIA}
    assert means["count"] == 1 and means["word"] == 1
    assert all(mean > 0.9 for mean in means.values()), means


@pytest.mark.parametrize(
    ("criterion", "asked", "drawn"),
    [
        ("count", {}, {"count": 1}),
        ("count", {"count": 1}, {"count": 3}),
        ("colour", {}, {"colour": "green"}),
        ("shape", {}, {"shape": "square"}),
        ("shape", {}, {"shape": "triangle"}),
        ("position", {}, {"position": "bottom"}),
        ("word", {"word": "CAT"}, {"word": "DOG"}),
        ("word", {}, {"word": "DOG"}),
    ],
)
def test_what_is_wrong_lowers_its_own_criterion(criterion, asked, drawn):
    usual = {"count": 2, "colour": "red", "shape": "circle", "position": "top"}
    wanted, shown = scenes.SceneOrder(**usual | asked), scenes.SceneOrder(**usual | drawn)
    jitter = np.full(7, 0.5)
    right, wrong = scenes.draw(wanted, 32, jitter), scenes.draw(shown, 32, jitter)
    assert scenes.score(wrong, wanted, criterion) < scenes.score(right, wanted, criterion) - 0.2
    assert scenes.score(right, wanted, criterion) >= 0.75


def test_noise_and_empty_pictures_are_worth_little():
    noise = np.random.default_rng(0).random((3, 32, 32)).astype(np.float32)
    for image in (noise, np.ones((3, 32, 32), np.float32)):
        found = [np.mean(list(scored(image, DATA[key]).values())) for key in range(30)]
        assert np.mean(found) < 0.45


def test_rows_are_the_same_always_and_captions_say_what_the_columns_say():
    again = Shapes(size=150, words=("GO", "CAT"))
    for key in (0, 7, 149):
        row = DATA[key]
        assert row["prompt"] == again[key]["prompt"] and np.array_equal(row["image"], again[key]["image"])
        assert (
            row["colour"] in row["prompt"]
            and row["shape"] in row["prompt"]
            and row["position"] in row["prompt"]
        )
        assert (f'"{row["word"]}"' in row["prompt"]) == bool(row["word"])
        assert row["image"].shape == (3, 32, 32) and row["image"].dtype == np.float32
    assert 50 < sum(bool(DATA[key]["word"]) for key in range(150)) < 100
    assert Shapes(seed=1)[0]["image"].tolist() != Shapes()[0]["image"].tolist()
    with pytest.raises(IndexError):
        DATA[150]


def test_options_that_cannot_be_drawn_are_refused():
    with pytest.raises(ValueError, match=r"colours has \['pink'\]; known: red"):
        Shapes(colours=("pink",))
    with pytest.raises(ValueError, match="words must be letters and digits"):
        Shapes(words=("a b",))


def test_the_judge_means_over_its_criteria():
    rows = held_out(DATA, 4, 1, 0)
    images = torch.stack([torch.as_tensor(DATA[key]["image"]) for key in range(4)])
    judged = Scene(criteria=("count", "word"))(rows.put(output=images))
    assert judged["reward.scene"].tolist() == [1.0] * 4 and judged.correct.tolist() == [1.0] * 4
    empty = Scene(name="other")(rows.put(output=torch.ones_like(images)))
    assert empty["reward.other"].max() < 0.5 and empty.correct.tolist() == [0.0] * 4
    with pytest.raises(JudgeError, match="needs the column 'count' of the data; there are: prompt"):
        Scene()(rows.put(output=images, example=[{"prompt": "a"}] * 4))


def test_digits():
    train, test = Digits(), Digits(split="test")
    assert len(train) + len(test) == len(Digits(split="all")) == 1797
    row = test[3]
    assert row["prompt"] == str(row["label"]) and row["image"].shape == (1, 8, 8) and row["image"].max() <= 1
    with pytest.raises(IndexError):
        test[len(test)]
