"""Before and after: which evaluations are compared, and what is claimed of them."""

import pytest

from oneloop.report.headline import axis, comparisons, duration, facts, sentence
from oneloop.report.run_directory import RunDirectory, read_run


def evaluation(phase, when, accuracy, half=0.05, mode="sampled"):
    interval = {"low": accuracy - half, "high": accuracy + half}
    return {"phase": phase, "when": when, "mode": mode, "accuracy": accuracy, "n": 64, **interval}


def run(*evals) -> RunDirectory:
    return RunDirectory(None, "", {}, [], list(evals), [])


def test_every_phase_and_mode_is_compared(finished_run):
    found = comparisons(read_run(finished_run))
    assert [(c.phase, c.mode, round(c.change, 1)) for c in found] == [
        ("sft", "greedy", 43.0),
        ("sft", "sampled", 28.6),
        ("grpo", "greedy", 23.0),
        ("grpo", "sampled", 33.0),
    ]
    assert all(c.clear for c in found)
    assert sentence(found) == "Held-out sampled accuracy rose from 29.0% to 62.0% in phase grpo."


def test_a_phase_without_its_own_start_begins_where_the_last_one_ended():
    found = comparisons(
        run(
            evaluation("sft", "before", 0.1),
            evaluation("sft", "after", 0.4),
            evaluation("grpo", "after", 0.7),
        )
    )
    assert [(c.before["accuracy"], c.after["accuracy"]) for c in found] == [(0.1, 0.4), (0.4, 0.7)]


def test_evaluations_during_a_phase_are_not_its_start():
    evals = [
        evaluation("grpo", when, rate) for when, rate in (("before", 0.1), ("during", 0.3), ("after", 0.5))
    ]
    assert comparisons(run(*evals))[0].before["accuracy"] == 0.1


def test_overlapping_intervals_are_called_chance():
    found = comparisons(run(evaluation("grpo", "before", 0.40), evaluation("grpo", "after", 0.45)))
    assert not found[0].clear and sentence(found).endswith("the intervals overlap, so this may be chance.")


def test_a_fall_is_called_a_fall():
    found = comparisons(run(evaluation("grpo", "before", 0.6), evaluation("grpo", "after", 0.3)))
    assert "fell from 60.0% to 30.0%" in sentence(found) and found[0].clear


def test_without_intervals_nothing_is_called_clear():
    rows = [
        {"phase": "a", "when": when, "accuracy": rate} for when, rate in (("before", 0.0), ("after", 0.9))
    ]
    assert not comparisons(run(*rows))[0].clear


def test_no_evaluation_says_so():
    assert sentence(comparisons(run())) == "This run has no held-out score before and after a phase."


def test_facts(finished_run):
    assert dict(facts(read_run(finished_run), 1280)) == {
        "steps": "100",
        "wall time": "2 min 01 s",
        "tokens sampled": "54,000",
        "tokens trained": "117,920",
        "rollouts shown": "1,280",
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.21, "4.2 s"), (59.4, "59 s"), (60, "1 min 00 s"), (7505, "2 h 05 min"), (None, None)],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def rewarded(phase, when, reward, low, high, **more):
    return {
        "phase": phase,
        "when": when,
        "mode": "sampled",
        "reward": reward,
        "reward_low": low,
        "reward_high": high,
    } | more


def test_a_reward_is_compared_on_its_own_scale():
    evals = [rewarded("a", "before", 100.0, 90.0, 110.0), rewarded("a", "after", 30000.0, 29000.0, 31000.0)]
    found = comparisons(run(*evals))
    assert [(c.measure, c.change, c.clear) for c in found] == [("reward", 29900.0, True)]
    assert sentence(found) == "Held-out sampled reward rose from 100 to 30,000 in phase a."
    assert found[0].moved == "+29,900"
    assert axis(found, "reward") == (90.0, 31000.0) and axis(found, "accuracy") == (0.0, 1.0)


def test_an_accuracy_that_stands_still_gives_way_to_the_reward():
    still = {"accuracy": 0.0, "low": 0.0, "high": 0.06}
    evals = [
        rewarded(
            "a",
            "before",
            0.4,
            0.38,
            0.42,
        )
        | still,
        rewarded(
            "a",
            "after",
            0.476,
            0.46,
            0.49,
        )
        | still,
    ]
    found = comparisons(run(*evals))
    assert [c.measure for c in found] == ["reward", "accuracy"]
    assert sentence(found) == "Held-out sampled reward rose from 0.4 to 0.476 in phase a."
    assert not found[1].clear
