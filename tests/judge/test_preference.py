"""Judges that compare: what they are asked, what they write, when they refuse or warn; wins by another
judge."""

import pytest
import torch

from oneloop.core.rooms import build
from oneloop.core.verdicts import JudgeError
from oneloop.judge.preference import Preference
from oneloop.judge.stage import Judging
from oneloop.judge.win_rate import WinRate
from tests.judge.judge_rollouts import rollouts
from tests.support.editing import Answers, preference

TASKS = {"fill": ("text_alignment", "consistency", "structure"), "remove": ("removal_quality",)}


def pairs(count=4, tasks=("fill", "remove"), prompt="seven"):
    rows = [{"prompt": prompt, "task": tasks[i % len(tasks)]} for i in range(count)]
    draw = torch.Generator().manual_seed(1)
    made = rollouts([""] * count, rows)
    images = torch.rand(2, count, 1, 4, 4, generator=draw)
    return made.put(output=images[0], reference_output=images[1], context=[((0, prompt),)] * count)


def test_each_criterion_of_the_task_is_asked_once_and_the_reward_is_their_mean():
    judge = preference(tasks=TASKS)
    judged = judge(pairs())
    assert [len(texts) for texts in judge.network.seen] == [3 + 1 + 3 + 1]
    assert '"seven"' in judge.network.seen[0][0] and "seven" not in judge.network.seen[0][1]
    columns = torch.stack([judged[f"yes.preference.{name}"] for name in judge.names], 1)
    assert columns.isnan().tolist() == [[False] * 3 + [True], [True] * 3 + [False]] * 2
    torch.testing.assert_close(judged["reward.preference"], columns.nanmean(1))
    assert judged["reward.preference"].dtype == torch.float64 and judged["error.preference"] == [None] * 4


def test_swapped_images_swap_the_verdict_of_an_antisymmetric_judge():
    rows = pairs()
    other = rows.put(output=rows["reference_output"], reference_output=rows.output)
    for judge in (
        preference(tasks=TASKS),
        preference(tasks=TASKS, model=Answers(favour=2.0), both_orders=True),
    ):
        both = judge(rows)["reward.preference"] + judge(other)["reward.preference"]
        torch.testing.assert_close(both, torch.ones(4, dtype=torch.float64), atol=1e-6, rtol=0)
    same = rows.put(output=rows["reference_output"])
    assert preference(tasks=TASKS)(same)["reward.preference"].tolist() == [0.5] * 4
    assert preference(tasks=TASKS, hard=True)(same)["reward.preference"].tolist() == [0.5] * 4


def test_favour_for_the_first_place_is_measured():
    assert preference(tasks=TASKS).bias(pairs()) == pytest.approx(0, abs=1e-6)
    assert preference(tasks=TASKS, model=Answers(favour=2.0)).bias(pairs()) > 0.5


def test_the_cut_into_calls_changes_nothing():
    one, many = (preference(tasks=TASKS, pairs_per_call=size)(pairs()) for size in (1, 64))
    torch.testing.assert_close(one["reward.preference"], many["reward.preference"])


def test_wins_of_a_held_out_judge_have_their_own_columns():
    judge = preference(tasks=TASKS, hard=True, held_out=True, name="truth")
    judged = judge(pairs())
    assert set(judged["won.truth.consistency"][::2].tolist()) <= {0.0, 0.5, 1.0}
    assert not any(name.startswith("yes.") for name in judged)


def test_an_image_that_is_not_finite_is_an_error_of_its_own():
    rows = pairs()
    rows.output[1, 0, 0, 0] = float("nan")
    judged = Judging([preference(tasks=TASKS)])(rows)
    assert judged.reward.isnan().tolist() == [False, True, False, False]
    assert "not finite" in judged["error.preference"][1]


def test_rows_it_cannot_ask_about_stop_the_run():
    with pytest.raises(JudgeError, match=r"data row 1000: 'paint' is no task; there are: fill, remove"):
        preference(tasks=TASKS)(pairs(tasks=("paint",)))
    with pytest.raises(
        JudgeError, match=r"task 'fill', criterion 'text_alignment': the question quotes a prompt"
    ):
        preference(tasks=TASKS)(pairs(prompt=""))


def test_a_model_that_answers_something_else_is_warned_of():
    with pytest.warns(UserWarning, match="Yes and No are 0.100 of what the model would answer"):
        small = preference(model=Answers(mass=0.9))(pairs(tasks=("fill",)))
    alone = preference(model=Answers(mass=0.9), normalize="pair")(pairs(tasks=("fill",)))
    torch.testing.assert_close(small["reward.preference"] * 10, alone["reward.preference"], rtol=1e-5, atol=0)


def test_options_that_name_nothing_are_refused():
    with pytest.raises(ValueError, match="did you mean 'consistency'"):
        preference(tasks={"fill": ("consistencies",)})
    with pytest.raises(ValueError, match="'flow_mlp'; it is a flow model part"):
        preference(model={"flow_mlp": {}})(pairs(tasks=("fill",)))


def test_wins_by_the_score_of_a_judge_of_single_images():
    bright = build("judge", {"tests/support/toy_parts.py:Brightness": {}})
    judged = WinRate(judge=bright)(pairs())
    wanted = judged.output.flatten(1).mean(1) > judged["reference_output"].flatten(1).mean(1)
    assert judged["reward.win_rate"].tolist() == wanted.double().tolist()
    assert torch.equal(judged["won.win_rate.brightness"], judged["reward.win_rate"])
    with pytest.raises(ValueError, match="Preference compares already"):
        WinRate(judge=preference())


def test_an_error_on_either_image_is_an_error_of_the_pair():
    class Picky:
        name = "picky"
        part_reads, part_writes = ("output",), ("reward.picky", "error.picky")

        def __call__(self, rollouts):
            bad = rollouts.output.flatten(1).mean(1) > 0.5
            score = torch.where(bad, torch.nan, 1.0).double()
            return rollouts.put(
                {"reward.picky": score, "error.picky": ["too bright" if b else None for b in bad]}
            )

    rows = pairs()
    judged = WinRate(judge=Picky())(rows)
    both = torch.stack([rows.output, rows["reference_output"]]).flatten(2).mean(2) > 0.5
    assert [error is not None for error in judged["error.win_rate"]] == both.any(0).tolist()
    assert judged["reward.win_rate"][~both.any(0)].eq(0.5).all()


def test_the_papers_registry_is_the_default():
    assert Preference(model="pair_mlp").names == (
        *("text_alignment", "consistency", "structure", "aesthetics"),
        "removal_quality",
    )


def test_the_model_stays_on_its_device_wherever_images_are(monkeypatch):
    """Verdicts come back to where the images were; the model is placed once."""
    judge, moved = preference(tasks=TASKS, device="cpu"), []
    network = judge.network
    monkeypatch.setattr(type(network), "to", lambda self, place: moved.append(place) or self)
    rows = pairs()
    judge(rows)
    images = rows.output.requires_grad_()
    p, asked = judge.grade(images, rows, torch.arange(4))
    p.sum().backward()
    assert moved == [] and p.device == asked.device == images.device and images.grad.abs().sum() > 0
