"""The claim on One-DM's second stage: what words are measured by, its arms on few steps, its headline."""

import numpy as np
import pytest
import torch
from benchmarks.claims import one_dm
from benchmarks.claims.one_dm import CLAIM, measures, setting, trained
from benchmarks.claims.one_dm.measures import Judges, by_writer, dull, looks, measured
from PIL import Image

from oneloop.models.flow.flow_mlp import FlowMlp
from oneloop.sample.data.digits import Digits
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.dress.fork import Fork
from oneloop.sample.plan.plan import Plan
from oneloop.sample.policies.flow import Flow
from tests.support.fonts import font_folder

pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Fonts that look alike, and a few steps of everything."""
    folder = font_folder(tmp_path_factory.mktemp("fonts"), ("a", "b", "c", "d", "e"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setting, "FOLDER", str(folder))
        for name, value in {"TESTED": 6, "STEPS": 2, "JUDGE_STEPS": 2, "CALLS": 3, "BATCH": 4}.items():
            patch.setattr(setting, name, value)
        sizes = {"hidden_size": 16, "heads": 2, "channels": (8, 16), "font": str(folder / "a.ttf")}
        patch.setattr(setting, "SIZES", sizes)
        for name, value in {"READS": 1, "WORK": 24, "FORK": Fork(steps=(0,)), "GROUPS": 2, "WIDE": 2}.items():
            patch.setattr(one_dm, name, value)
        kept = (setting.reader, setting.hands, setting.words, one_dm.judges, one_dm.folder, one_dm.taught)
        for each in kept:
            each.cache_clear()
        yield one_dm
        for each in kept:
            each.cache_clear()


def bars(lean, wide, height=16, width=32):
    """Strokes of `wide` pixels that lean `lean` columns to the right for a row up."""
    picture = np.ones((height, width), dtype=np.float32)
    for row in range(2, height - 2):
        for start in (8, 18):
            place = round(start + lean * (height // 2 - row))
            picture[row, place : place + wide] = 0
    return picture


def test_looks_of_known_strokes():
    upright, thick, slanted = looks(bars(0, 2)), looks(bars(0, 4)), looks(bars(0.5, 2))
    assert upright == pytest.approx([12, 0, 2, 12])
    assert thick[2] == 4 and slanted[2] == 2
    assert slanted[1] == pytest.approx(0.5, abs=0.2)
    assert looks(bars(-0.5, 2))[1] == pytest.approx(-slanted[1], abs=0.1)
    assert looks(np.ones((16, 8))).tolist() == [0, 0, 0, 0]


def test_distances_are_between_the_means_of_writers():
    made = np.array([[0.0, 0.0], [2.0, 0.0], [5.0, 5.0]])
    real = np.array([[1.0, 3.0], [1.0, 5.0], [5.0, 5.0]])
    assert by_writer(made, real, ["a", "a", "b"]) == pytest.approx((4 + 0) / 2)


def test_real_words_are_at_no_distance_and_a_copy_says_something_else(small):
    rows = setting.rows()
    found = dull(rows, 0)
    assert set(found) == {
        "real words",
        "copy of the reference",
        "a seen font",
        "nearest seen font",
        "mean font",
    }
    assert all(pictures.shape == (6, 1, 16, 36) for pictures in found.values())
    judges = small.judges()
    real = measured(judges, found["real words"], rows)
    assert real["distance"] == real["looks"] == 0 and real["frechet"] == pytest.approx(0, abs=1e-6)
    assert measured(judges, found["mean font"], rows)["looks"] > 0
    assert isinstance(judges, Judges) and measures.fitted(np.zeros((16, 40))).shape == (16, 36)


def test_every_arm_runs_and_stage_two_takes_the_same_work(small, monkeypatch):
    made, second = {}, small.second
    monkeypatch.setattr(small, "second", lambda arm, *each: made.setdefault(arm, second(arm, *each)))
    said = []
    begun = small.run(0, said.append)
    assert len(said) == CLAIM.units and {begun[name]["work"] for name in small.PLAIN} == {8}
    assert begun["stage 1, no Laplacian"]["parameters"] < begun["stage 1"]["parameters"]
    rows = {arm.name: small.train(arm.name, 1e-3, 0) for arm in CLAIM.arms}
    assert {row["work"] for row in rows.values()} == {32}
    begun = small.taught("stage 1", 0)
    assert set(made) == {arm.name for arm in CLAIM.arms}
    for arm, policy in made.items():
        moved = policy.model.state_dict()
        assert any(not torch.equal(moved[name], weight) for name, weight in begun.items()), arm


@pytest.mark.parametrize("fork", [None, Fork(steps=(0, 1))])
def test_evaluations_of_grpo_are_those_of_sampling_and_of_actions_that_are_learned_from(fork):
    calls = setting.CALLS
    policy = Flow(model=FlowMlp(), steps=calls, noise="ddim", device="cpu").open()
    dress, leaves = ((fork,), fork.leaves) if fork else ((), one_dm.WIDE)
    plan = Plan(data=Digits(), groups=3, count=Uniform(n=leaves), dress=dress)
    plan.begin(0, 1)
    made, _ = policy.sample(plan.ask())
    learned = int((made.actions.share > 0).sum())
    assert policy.meter.total + learned == 3 * one_dm.evaluations(fork)


def test_the_headline_is_the_share_of_errors_that_are_taken_away():
    rows = {"more of stage 1": {"cer": 0.5}, "stage 2, back-propagation": {"cer": 0.3}}
    above, below = CLAIM.headline(rows)
    assert above / below == pytest.approx(0.4)


def test_trained_models_are_measured_beside_what_needs_no_training_and_drawn(small, tmp_path, capsys):
    small.judges().reader.save(tmp_path / "reader")
    small.judges().hands.save(tmp_path / "hands")
    policy = small.first("stage 1", 0)
    policy.save(tmp_path / "model")
    figure = tmp_path / "drawn.png"
    trained.main([str(tmp_path / "model")], tmp_path / "reader", tmp_path / "hands", figure)
    printed = capsys.readouterr().out.splitlines()
    rows = setting.rows()
    assert len(printed) == 1 + len(dull(rows, 0)) and printed[-1].startswith(str(tmp_path / "model"))
    said = measured(small.judges(), setting.written(policy)[0], rows)
    assert printed[-1].endswith(", ".join(f"{column} {value:.3f}" for column, value in said.items()))
    with Image.open(figure) as image:
        # reference, real word and one model's, each in its paper, two words beside one another
        assert image.width == 3 * 2 * 3 * (36 + 2 * 4) and image.height % (3 * (16 + 2 * 2)) == 0
        assert len(image.getcolors(2**16)) > 2
