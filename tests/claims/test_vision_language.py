"""The claim about GRPO on pictures: arms start from one model, and learn and are tested on other rows."""

import pytest
from benchmarks.claims import vision_language

from oneloop.sample.data.picture_questions import PictureQuestions


@pytest.fixture
def short(monkeypatch):
    for name, value in {"WARM_UP": 4, "STEPS": 3, "PROMPTS": 3, "SIZE": 4, "TESTED": 9}.items():
        monkeypatch.setattr(vision_language, name, value)
    vision_language.warmed_up.cache_clear()
    yield
    vision_language.warmed_up.cache_clear()


def test_arms_start_from_one_model_and_report_before_and_after(short):
    rows = {arm.name: vision_language.train(arm.name, 1e-2, 0) for arm in vision_language.CLAIM.arms}
    before = [{name: row[name] for name in row if name.endswith("before")} for row in rows.values()]
    assert before[0] == before[1] and len(before[0]) == 5
    assert rows["GRPO"] == vision_language.train("GRPO", 1e-2, 0)
    assert all(row["work"] > 0 for row in rows.values())
    assert set(rows["GRPO"]) == {name.removesuffix(" before") for name in before[0]} | set(before[0]) | {
        "work"
    }


def test_the_headline_is_the_lesser_rise():
    row = {"greedy": 0.7, "greedy before": 0.6, "sampled": 0.55, "sampled before": 0.5}
    assert vision_language.headline({"GRPO": row}) == pytest.approx(0.05)


def test_pictures_that_are_tested_are_not_learned_from():
    tested = PictureQuestions(digits=1, size=vision_language.TESTED, split="test")
    shown = {tested[key]["images"][0].tobytes() for key in range(60) if tested[key]["kind"] != "digits"}
    for seed in range(4):
        learned = PictureQuestions(digits=1, size=300, seed=seed)
        assert not shown & {learned[key]["images"][0].tobytes() for key in range(300)}
