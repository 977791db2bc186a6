"""Images of one's own: a folder with captions beside it, a Parquet file with an image column; trained on."""

import json

import numpy as np
import pytest
import torch

from oneloop.recipe.recipe import load_recipe
from oneloop.run.progress import Show
from oneloop.run.run import Run
from oneloop.sample.data.hub import Hub

Image = pytest.importorskip("PIL.Image")
datasets = pytest.importorskip("datasets")
CAPTIONS = ["red", "green", "blue", "grey"]
COLOURS = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (128, 128, 128)]


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def pictures():
    """Of several sizes and modes, as in life."""
    sizes = [(16, 16), (40, 16), (16, 24), (8, 8)]
    made = [Image.new("RGB", size, colour) for size, colour in zip(sizes, COLOURS, strict=True)]
    return [*made[:3], made[3].convert("L")]


@pytest.fixture
def folder(tmp_path):
    """Images with a metadata.jsonl, as `datasets` calls an image folder."""
    place = tmp_path / "folder"
    place.mkdir()
    lines = []
    for number, (picture, caption) in enumerate(zip(pictures(), CAPTIONS, strict=True)):
        picture.save(place / f"{number}.png")
        lines.append(json.dumps({"file_name": f"{number}.png", "caption": caption}))
    (place / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return str(place)


@pytest.fixture
def parquet(tmp_path):
    """One file, images inside."""
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    table = datasets.Dataset.from_dict({"image": pictures(), "caption": CAPTIONS}, features=features)
    table.to_parquet(tmp_path / "images.parquet")
    return str(tmp_path / "images.parquet")


def recipe_on(path, **model):
    network = {"image_size": 8, "channels": 3, "hidden_size": 16, "layers": 1, **model}
    return {
        "policy": {"flow": {"model": {"flow_mlp": network}, "steps": 3, "device": "cpu"}},
        "plan": {"data": {"hub": {"path": path, "input_key": "caption"}}, "groups": 4, "shuffle": False},
        "sample": "demonstrations",
        "objective": ["flow_matching"],
        "steps": 2,
    }


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_rows_are_captions_and_pictures(kind, request):
    data = Hub(path=request.getfixturevalue(kind), input_key="caption")
    assert [data[key]["prompt"] for key in range(4)] == CAPTIONS
    assert data[1]["image"].size == (40, 16) and data[3]["image"].mode == "L"


@pytest.mark.parametrize("kind", ["folder", "parquet"])
@pytest.mark.parametrize("channels", [3, 1])
def test_they_are_trained_on_whatever_their_size(kind, channels, request, tmp_path):
    recipe = load_recipe(recipe_on(request.getfixturevalue(kind), channels=channels))[0]
    run = Run(recipe, tmp_path / "run", show=Show(quiet=True))
    run.train()
    assert len(run.history) == 2 and all(line["grad_norm"] > 0 for line in run.history)


def test_the_middle_of_a_picture_is_taken_in_the_network_s_colours(parquet):
    recipe = load_recipe(recipe_on(parquet))[0]
    policy, plan = recipe.policy.open(), next(iter(recipe.phases.values())).plan
    plan.begin(seed=0, steps=1)
    made, _ = policy.demonstrate(plan.ask())
    order = [CAPTIONS.index(row["prompt"]) for row in made.example]
    expected = torch.tensor(np.array(COLOURS)[order] / 255, dtype=torch.float32)
    assert made.output.shape == (4, 3, 8, 8)
    torch.testing.assert_close(made.output.mean((2, 3)), expected, rtol=0, atol=0.01)


def test_a_missing_caption_column_is_named(parquet):
    with pytest.raises(
        ValueError, match=r"input_key names a column 'text' that is not there.*image, caption"
    ):
        len(Hub(path=parquet, input_key="text"))
