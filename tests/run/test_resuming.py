"""A run may go on longer; with any other change it would be another run."""

import pytest

from oneloop.recipe.text import options, parse
from oneloop.run.directories import to_resume
from oneloop.run.resuming import OtherRun, changes, leaves, same_run, take_over
from tests.support.training import assert_equal, outcome, raw_recipe, recipe, train


def longer(steps, **options):
    """The recipe of training.py with so many steps of reinforcement."""
    raw = raw_recipe(**options)
    raw["phases"]["reinforce"] |= {"steps": steps}
    raw["phases"]["reinforce"]["learner"] |= {"schedule": "constant"}
    return raw


@pytest.mark.slow
def test_a_finished_run_that_is_extended_is_the_longer_run_to_the_bit(tmp_path):
    whole = train(tmp_path / "whole", **longer(5))
    first = train(tmp_path / "run", **longer(3))
    assert first.history[-1]["phase_step"] == 3
    again = train(tmp_path / "run", resume=True, **longer(5))
    assert again.history[-1]["phase_step"] == 5
    assert_equal(outcome(whole.directory), outcome(tmp_path / "run"))
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    train(tmp_path / "run", resume=True, **longer(5))
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == before


def history(phase, done):
    return [{"phase": "warm", "phase_step": 4}, {"phase": phase, "phase_step": done}]


def written(folder, **options):
    path = folder / "recipe.yaml"
    from oneloop.recipe.text import written

    path.write_text(written(recipe(**options)))
    return path


def test_what_changes_is_said_and_written(tmp_path):
    path = written(tmp_path)
    new = recipe(**longer(9, save_every=3))
    with pytest.raises(OtherRun, match=r"schedule: linear -> constant; go on as it was with"):
        take_over(path, new, [])
    path = written(tmp_path, **longer(7))
    assert take_over(path, new, history("reinforce", 7)) == [
        "changed phases.reinforce.steps: 7 -> 9",
        "changed save_every: 2 -> 3",
    ]
    assert parse(path.read_text()) == options(new)
    assert take_over(path, new, history("reinforce", 7)) == []


def test_a_schedule_that_ends_elsewhere_is_said(tmp_path):
    raw = longer(7)
    raw["phases"]["reinforce"]["learner"]["schedule"] = "linear"
    path = written(tmp_path, **raw)
    raw["phases"]["reinforce"]["steps"] = 9
    said = take_over(path, recipe(**raw), history("reinforce", 2))
    assert (
        said[1]
        == "changed the linear schedule of phase 'reinforce' now ends at step 9, from where the run stands"
    )


@pytest.mark.parametrize(
    ("done", "change", "said"),
    [
        (("reinforce", 5), {"reinforce": 4}, r"phases.reinforce.steps: must be at least 5, .* got 4"),
        (("reinforce", 1), {"warm": 9}, "phases.warm.steps: phase 'warm' is over, 'reinforce' has begun"),
    ],
)
def test_steps_that_cannot_change(tmp_path, done, change, said):
    path = written(tmp_path, **longer(7))
    before, raw = path.read_text(), longer(7)
    for name, steps in change.items():
        raw["phases"][name]["steps"] = steps
    with pytest.raises(OtherRun, match=said):
        take_over(path, recipe(**raw), history(*done))
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 6}, "recipe given, it differs in seed: 5 -> 6; go on as it was"),
        ({"evaluate": None}, "evaluate"),
        ({"evaluate": {"data": {"rows": {"rows": [{"prompt": "1+1="}]}}, "size": 6}}, "and [0-9]+ more"),
    ],
)
def test_other_changes_are_named(tmp_path, change, said):
    with pytest.raises(OtherRun, match=said):
        take_over(written(tmp_path), recipe(**change), [])


def test_a_command_to_copy_has_its_paths_quoted(tmp_path):
    (folder := tmp_path / "my runs").mkdir()
    with pytest.raises(OtherRun, match=f"`oneloop train '{folder}/recipe.yaml' --resume`"):
        take_over(written(folder), recipe(seed=6), [])


def test_changes_are_found_by_path():
    before, after = (
        {"a": {"b": 1, "c": [1, {"d": 2}]}, "e": []},
        {"a": {"b": 1, "c": [1]}, "e": [], "f": None},
    )
    assert changes(before, after) == {"a.c[1].d": (2, None)}
    assert dict(leaves(after)) == {"a.b": 1, "a.c[0]": 1, "e": [], "f": None}


def test_the_newest_run_that_may_go_on_is_chosen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, given in (("tiny", {}), ("tiny-2", {"seed": 6})):
        (tmp_path / "runs" / folder).mkdir(parents=True)
        written(tmp_path / "runs" / folder, **given)
    assert str(to_resume(tmp_path / "tiny.yaml", recipe())) == "runs/tiny"
    assert str(to_resume(tmp_path / "tiny.yaml", recipe(seed=6))) == "runs/tiny-2"
    assert same_run(options(recipe(save_every=9)), recipe())


def test_options_that_a_run_was_written_without_have_their_defaults(tmp_path):
    path = written(tmp_path)
    older = "".join(
        line
        for line in path.read_text().splitlines(keepends=True)
        if "on_bad_row" not in line and "held_out" not in line
    )
    assert older != path.read_text()
    path.write_text(older)
    assert take_over(path, recipe(), []) == [] and same_run(parse(older), recipe())
    path.write_text(older)
    other = raw_recipe()
    other["evaluate"]["held_out"] = 0.5
    with pytest.raises(OtherRun, match=r"differs in evaluate.held_out: 0.0 -> 0.5; go on as it was"):
        take_over(path, recipe(evaluate=other["evaluate"]), [])
