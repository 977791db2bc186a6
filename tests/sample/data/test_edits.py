"""Editing tasks made of images, and mixtures of data sets: masks, prompts, shares, and what is refused."""

import numpy as np
import pytest
from scipy.stats import chisquare

from oneloop.core.rooms import build
from oneloop.sample.data.edits import Edits, binary
from oneloop.sample.data.mixture import Mixture
from oneloop.sample.data.rows import Rows


def edits(task, of="digits", **options):
    return build("data", {"edits": {"of": of, "task": task, **options}})


@pytest.mark.parametrize("task", ["fill", "extend", "remove", "text"])
def test_a_row_is_the_source_less_what_is_masked_and_the_mask(task):
    for key in range(20):
        row = edits(task)[key]
        assert row["task"] == task and row["condition"].shape == (2, 8, 8)
        assert set(np.unique(row["mask"])) == {0.0, 1.0}
        np.testing.assert_array_equal(row["condition"][:1], row["source"] * (1 - row["mask"]))
        np.testing.assert_array_equal(row["condition"][1:], row["mask"])
        np.testing.assert_array_equal(row["source"], build("data", "digits")[key]["image"])
        assert edits(task)[key]["prompt"] == row["prompt"]


def test_who_is_asked_for():
    base = build("data", "digits")
    assert all(edits("extend")[key]["prompt"] == base[key]["prompt"] for key in range(20))
    fills = [edits("fill")[key] for key in range(40)]
    assert sum(row["prompt"] != base[key]["prompt"] for key, row in enumerate(fills)) > 25
    assert all(row["prompt"] == str(row["label"]) for row in fills)
    assert all(edits("fill", asked="own")[key]["label"] == base[key]["label"] for key in range(20))
    removed = edits("remove")[3]
    assert removed["prompt"] == "remove the specified object" and removed["label"] == base[3]["label"]


def test_masks_have_the_sizes_asked_for():
    boxes = np.array([edits("fill")[key]["mask"][0].any(axis).sum() for key in range(60) for axis in (0, 1)])
    assert set(boxes) == {4, 5, 6}
    kept = 1 - edits("extend")[0]["mask"][0]
    assert kept[2:6, 2:6].all() and kept.sum() == 16
    assert edits("fill", smallest=1.0, largest=1.0)[0]["mask"].all()  # a full mask is legal


def test_a_word_is_masked_where_it_is_written():
    shapes = {"shapes": {"words": ["GO"], "worded": 1.0, "size": 8}}
    for key in range(8):
        row = edits("text", shapes)[key]
        hidden = row["condition"][:3]
        assert '"GO"' in row["prompt"] and row["mask"].any()
        ink = (row["source"].max(0) < 0.2).sum()
        assert ink > 0 and ((hidden.max(0) < 0.2) & (row["mask"][0] == 0)).sum() == 0
    with pytest.raises(ValueError, match="the mask of row 0 is empty"):
        assert edits("text", {"shapes": {"size": 4}})[0]


def test_masks_and_tasks_of_ones_own():
    image = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    mask = np.zeros((4, 4), dtype=np.uint8)
    mask[1:3, 1:3] = 255
    rows = [{"prompt": "a hat", "image": image, "mask": mask, "task": "relight"}]
    row = edits("given", {"rows": {"rows": rows}})[0]
    assert row["task"] == "relight" and row["mask"].sum() == 4 and row["condition"].shape == (4, 4, 4)
    with pytest.raises(ValueError, match="row 0 has no 'mask'; its columns: prompt, image"):
        assert Edits(of=Rows(rows=[{"prompt": "x", "image": image}]), task="given")[0]
    with pytest.raises(ValueError, match="row 0 has no 'image'; its columns: prompt"):
        assert Edits(of=Rows(rows=[{"prompt": "x"}]))[0]


def test_masks_that_are_grey_or_empty():
    grey = np.full((1, 2, 2), 0.7, dtype=np.float32)
    with pytest.warns(UserWarning, match="row 5 is not 0 or 1 everywhere; cut at .5"):
        assert binary(grey, 5).all()
    with pytest.raises(ValueError, match="row 5 is empty: there is nothing to generate"):
        binary(np.zeros((1, 2, 2), dtype=np.float32), 5)
    with pytest.raises(ValueError, match="largest must be at least smallest"):
        edits("fill", smallest=0.6, largest=0.5)


def mixture(*weights, size=4000, **options):
    sets = [
        {"data": {"rows": {"rows": [{"prompt": str(i)}] * 3}}, "weight": weight}
        for i, weight in enumerate(weights)
    ]
    return build("data", {"mixture": {"sets": sets, "size": size, **options}})


def test_sets_are_drawn_by_their_weight_and_the_same_again():
    made = mixture(0.5, 0.25, 0.25)
    drawn = [made[key]["prompt"] for key in range(len(made))]
    counts = [drawn.count(name) for name in "012"]
    assert chisquare(counts, [2000, 1000, 1000]).pvalue > 0.01
    assert drawn[:50] == [mixture(0.5, 0.25, 0.25)[key]["prompt"] for key in range(50)]
    assert drawn != [mixture(0.5, 0.25, 0.25, seed=1)[key]["prompt"] for key in range(len(made))]


def test_one_set_is_that_set_and_a_weight_of_zero_never_comes():
    assert {mixture(1.0, size=20)[key]["prompt"] for key in range(20)} == {"0"}
    assert {mixture(1.0, 0.0, size=50)[key]["prompt"] for key in range(50)} == {"0"}


def test_weights_that_are_no_shares():
    with pytest.warns(UserWarning, match=r"weights \[2.0, 6.0\] sum to 8; taken as \[0.25, 0.75\]"):
        mixture(2.0, 6.0)
    for weights in ((0.0, 0.0), (-1.0, 2.0)):
        with pytest.raises(ValueError):
            mixture(*weights)
    with pytest.raises(IndexError, match="the mixture has 4000 rows"):
        assert mixture(1.0)[4000]
    assert isinstance(mixture(1.0), Mixture)
