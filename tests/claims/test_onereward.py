"""claims/onereward: true scores and the judge made of them, a base against itself, short runs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from benchmarks.claims import onereward, onereward_judge, onereward_judge_shapes, onereward_shapes
from benchmarks.claims.onereward import editing, rater
from benchmarks.claims.onereward.scores import DigitScores, alignment, consistency, emptiness

from oneloop.judge.pairwise.questions import Question
from oneloop.models.flow.flow_transformer import FlowTransformer
from oneloop.sample.data.digits import load, rows_of
from oneloop.sample.data.edits import Edits


@pytest.fixture
def small(monkeypatch):
    few = {"pretraining": 3, "copies": 1, "iterations": 2, "batch": 6, "paired": 12}
    setting = replace(editing.DIGITS, **few, sets=12, held_out=4, lessons=10)
    monkeypatch.setattr(editing, "DIGITS", setting)
    monkeypatch.setattr(onereward_judge, "SMALL", setting)
    monkeypatch.setattr(rater, "JUDGE_BATCH", 8)


def test_the_reader_knows_digits_it_has_not_seen():
    images, labels = load()
    rows = rows_of("train")
    said = alignment(torch.from_numpy(images[rows]), torch.from_numpy(labels[rows]))
    assert (said > np.log(0.5)).double().mean() > 0.9


def test_scores_by_hand():
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 1:3, 1:3] = 1
    source = torch.full((1, 1, 4, 4), 0.25)
    condition = torch.cat([source * (1 - mask), mask], 1)
    images = torch.where(mask > 0, 0.75, source)
    assert emptiness(images, condition).item() == pytest.approx(-0.75)
    assert consistency(images, condition).item() == pytest.approx(-0.25)  # each jump is .5
    assert consistency(source, condition).item() == 0
    whole = torch.cat([source * 0, torch.ones_like(mask)], 1)
    assert consistency(images, whole).item() == 0  # no border, no jump


def test_the_known_judge_is_antisymmetric_and_without_the_query_knows_no_criterion():
    row = Edits(of=editing.tasks(editing.DIGITS, "test")["fill"].of, task="fill")[0]
    images = torch.rand(2, 3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    ask = {name: [Question("fill", name, "", row)] * 3 for name in ("consistency", "text_alignment")}
    told, blind = DigitScores().build(), DigitScores(query=False).build()
    for questions in ask.values():
        both = (
            told.answers(*images, questions)[:, 0].exp()
            + told.answers(*images.flip(0), questions)[:, 0].exp()
        )
        torch.testing.assert_close(both, torch.ones(3))
    one, other = (told.answers(*images, questions) for questions in ask.values())
    assert (one - other).abs().max() > 0.01
    one, other = (blind.answers(*images, questions) for questions in ask.values())
    assert torch.equal(one, other)


def test_tasks_are_drawn_as_published():
    rows = [editing.mixture(editing.DIGITS, 0)[key]["task"] for key in range(600)]
    shares = [rows.count(name) / 600 for name in ("fill", "extend", "remove")]
    assert shares == [pytest.approx(share, abs=0.07) for share in (0.5, 0.25, 0.25)]


def test_one_seed_is_reproducible_and_arms_meet_the_same_base(small, monkeypatch):
    monkeypatch.setattr(onereward, "ABLATIONS", {"stop: 9": onereward.ABLATIONS["stop: 9"]})
    onereward.taught.cache_clear()
    said = []
    before = onereward.run(1, said.append)
    assert list(before) == ["base", "stop: 9"] and len(said) == 2
    rows = {arm.name: onereward.train(arm.name, 2e-4, 1) for arm in onereward.CLAIM.arms}
    assert rows["query"] == onereward.train("query", 2e-4, 1)
    for row in rows.values():
        assert row["worst"] == min(row[f"{t}, {c}"] for t, c in editing.PAIRS) and row["work"] > 0
    rivals = max(rows[name]["worst"] for name in ("no query", "a policy each"))
    assert onereward.headline(rows) == rows["query"]["worst"] - rivals
    onereward.taught.cache_clear()


def test_a_learned_judge_and_what_it_leads_to(small):
    onereward_judge.lessons.cache_clear()
    said = []
    rows = onereward_judge.run(0, said.append)
    assert len(said) == onereward_judge.CLAIM.units == 2
    for name in ("clamped", "known"):
        row = rows[f"policy: {name}"]
        assert row["gap"] == pytest.approx(row["said"] - row["true"], abs=0.3) and 0 <= row["true"] <= 1
    judged = {arm.name: onereward_judge.train(arm.name, 1e-3, 0) for arm in onereward_judge.CLAIM.arms}
    assert judged["query"] == onereward_judge.train("query", 1e-3, 0)
    assert all(0 <= row["worst"] <= row["mean"] <= 1 for row in judged.values())
    rivals = max(judged[name]["mean"] for name in ("no query", "a judge each"))
    assert onereward_judge.headline(judged) == judged["query"]["mean"] - rivals
    onereward_judge.lessons.cache_clear()


def test_scores_of_scenes_by_hand():
    rows = [onereward_shapes.scenes("test")[key] for key in range(40)]
    masked = [row | {"condition": np.concatenate([row["image"] * 0, np.ones((1, 32, 32))])} for row in rows]
    images = torch.from_numpy(np.stack([row["image"] for row in rows]))
    network = onereward_shapes.SceneScores().build()
    found = network.scores(images, masked)
    wrong = [
        row | {"colour": {"red": "green", "green": "blue", "blue": "red"}[row["colour"]]} for row in masked
    ]
    assert (found["text_alignment"] > network.scores(images, wrong)["text_alignment"]).all()
    empty = torch.full((40, 3, 32, 32), 245 / 255)
    blank = network.scores(empty, masked)
    torch.testing.assert_close(blank["text_alignment"], torch.full((40,), 1 / 3).log())
    assert (blank["removal_quality"].abs() < 1e-12).all() and (found["removal_quality"] < -1e-3).all()
    assert (found["consistency"] == 0).all(), "a mask over everything has no border"


def test_one_seed_on_scenes(monkeypatch):
    small = {"pretraining": 1, "copies": 1, "taught": 4, "iterations": 1, "batch": 4, "paired": 4}
    few = replace(onereward_shapes.SCENES, data=lambda split: replace(onereward_shapes.scenes(split), size=8))
    few = replace(few, **small, sets=6, held_out=1, lessons=1)
    network = FlowTransformer(hidden_size=32, patch=8, layers=1, words=8, condition_channels=4)
    few = replace(few, network=lambda seed: replace(network, seed=seed))
    monkeypatch.setattr(onereward_shapes, "SCENES", few)
    monkeypatch.setattr(onereward_judge_shapes, "SCENES", few)
    kept = (onereward_shapes.base, onereward_shapes.started, onereward_judge_shapes.lessons)
    for each in kept:
        each.cache_clear()
    rows = onereward_shapes.run(0, lambda what: None)
    rows |= {arm.name: onereward_shapes.train(arm.name, 2e-4, 0) for arm in onereward_shapes.CLAIM.arms}
    learned = onereward_judge_shapes.run(0, lambda what: None)
    judged = {arm: onereward_judge_shapes.train(arm, 1e-3, 0) for arm in onereward_judge.ARMS}
    for each in kept:
        each.cache_clear()
    assert list(rows) == ["base", "query", "no query", "a policy each"]
    assert 0 <= rows["query"]["worst"] <= rows["query"]["mean"]
    assert 0 <= learned["policy: clamped"]["true"] <= 1
    ahead = judged["query"]["fill"] - max(judged[name]["fill"] for name in ("no query", "a judge each"))
    assert onereward_judge_shapes.headline(judged) == ahead


def test_a_judge_of_scenes_is_told_the_colour():
    rows = [onereward_shapes.scenes("train")[key] for key in range(20)]
    assert [onereward_shapes.COLOURS[row["label"]] for row in rows] == [row["colour"] for row in rows]
