"""The doctor's sentences: when they are said, what they say, and that healthy runs are left alone."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneloop.report.doctor import Finding, Thresholds, Watch, diagnose, fallen, forecast, live


def healthy(step: int) -> dict[str, float | str]:
    return {
        "phase": "grpo",
        "step": step,
        "loss": 0.3,
        "grad_norm": 0.8,
        "reward": 0.4 + 0.002 * step,
        "rewards/exact/mean": 0.4 + 0.002 * step,
        "rewards/exact/std": 0.49,
        "correct": 0.4,
        "group_size": 8,
        "frac_reward_zero_std": 0.05,
        "completions/clipped_ratio": 0.02,
        "completions/max_length": 40,
        "entropy": 0.8,
        "ratio/mean": 1.0,
        "sampling/logprob_gap_mean": 1e-7,
        "effective_sample_size": 0.97,
        "judge/errors": 0,
        "rollouts/judged": 64,
        "rollouts/trained": 60,
        "staleness/mean": 0.0,
    }


def run(count: int = 20, **changed: object) -> list[dict]:
    """A healthy run with some metrics replaced: by a value, or by a function of the step."""
    rows = []
    for step in range(1, count + 1):
        row = healthy(step)
        for name, value in changed.items():
            name = name.replace("__", "/")
            row[name] = value(step) if callable(value) else value
        rows.append(row)
    return rows


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, [finding.sentence for finding in findings]
    return findings[0]


def test_a_healthy_run_gets_no_sentence():
    assert diagnose(run()) == []
    assert live(run()) == []


def test_no_steps_and_unmeasured_metrics_are_silent():
    assert diagnose([]) == [] and live([]) == []
    assert diagnose([{"step": 1, "phase": "sft"}, {"step": 2, "phase": "sft", "entropy": None}]) == []


@pytest.mark.parametrize(
    ("rate", "size", "expected"),
    [(0.5, 2, 0.5), (0.5, 8, 0.0078125), (0.9, 8, 0.43046722), (0.0, 4, 1.0), (1.0, 4, 1.0), (0.3, 1, 1.0)],
)
def test_forecast_worked_examples(rate, size, expected):
    assert forecast(rate, size) == pytest.approx(expected, abs=1e-8)


@given(st.floats(0, 1), st.integers(1, 64))
def test_forecast_is_a_symmetric_probability_that_falls_with_size(rate, size):
    assert 0 <= forecast(rate, size) <= 1 + 1e-12
    assert forecast(rate, size) == pytest.approx(forecast(1 - rate, size), abs=1e-12)
    assert forecast(rate, size + 1) <= forecast(rate, size) + 1e-12


@given(st.floats(0, 1), st.integers(2, 6))
def test_forecast_equals_enumeration_of_all_outcomes(rate, size):
    alike = 0.0
    for outcome in range(2**size):
        ones = outcome.bit_count()
        if ones in (0, size):
            alike += rate**ones * (1 - rate) ** (size - ones)
    assert forecast(rate, size) == pytest.approx(alike, abs=1e-12)


def test_forecast_refuses_what_is_no_rate():
    with pytest.raises(ValueError, match=r"pass_rate must lie in \[0, 1\], got 1.5"):
        forecast(1.5, 4)
    with pytest.raises(ValueError, match="at least 1 rollout a group, got 0"):
        forecast(0.5, 0)


def test_groups_without_signal_are_measured_forecast_and_given_a_remedy():
    finding = only(diagnose(run(frac_reward_zero_std=0.62, correct=0.93)))
    assert (finding.level, finding.name) == ("warn", "no_signal")
    assert "62% of the groups of the last 10 steps carried no signal" in finding.sentence
    assert f"forecasts {100 * forecast(0.93, 8):.0f}%" in finding.sentence
    assert "With 16 (`plan.count.uniform.n`) it is 31%" in finding.sentence
    assert "differ much in difficulty" not in finding.sentence


def test_groups_deader_than_forecast_point_at_the_prompts():
    finding = only(diagnose(run(frac_reward_zero_std=0.4, correct=0.5)))
    assert finding.level == "note"
    assert "differ much in difficulty" in finding.sentence and "forecasts 0.8%" in finding.sentence


def test_a_forecast_made_per_group_is_preferred():
    finding = only(diagnose(run(frac_reward_zero_std=0.4, correct=0.5, frac_zero_forecast=0.37)))
    assert "forecasts 37%" in finding.sentence


@pytest.mark.parametrize(("gap", "level"), [(0.004, None), (0.006, "note"), (0.02, "warn"), (0.08, "alarm")])
def test_logprob_gap_levels(gap, level):
    findings = diagnose(run(sampling__logprob_gap_mean=lambda step: gap if step == 7 else 0.0))
    if level is None:
        assert findings == []
    else:
        finding = only(findings)
        assert (finding.level, finding.name) == (level, "logprob_gap")
        assert f"disagreed by {gap:g} nats a token on average at step 7" in finding.sentence


@pytest.mark.parametrize(
    ("gap", "clip", "told"), [(5e-4, 1e-3, 1), (5e-5, 1e-3, 0), (5e-4, 0.2, 0), (0.02, 1e-3, 0)]
)
def test_ratios_must_be_precise_beside_the_clip_range(gap, clip, told):
    """A gap that would be nothing for text decides who is clipped where the clip range is 1e-3."""
    findings = diagnose(run(sampling__logprob_gap_mean=gap, clip_range=clip))
    found = [finding for finding in findings if finding.name == "ratio_precision"]
    assert len(found) == told
    if told:
        assert (
            "50% of the clip range 0.001" in found[0].sentence and "policy.flow.stored" in found[0].sentence
        )


def test_logprob_gap_of_stale_samples_never_stops_a_run():
    finding = only(diagnose(run(sampling__logprob_gap_mean=0.3, staleness__mean=1.0)))
    assert finding.level == "warn" and "not fresh" in finding.sentence


def test_a_growing_gap_is_called_stale_weights():
    finding = only(diagnose(run(sampling__logprob_gap_mean=lambda step: 0.001 * step)))
    assert "grew from 0.0055 to 0.0155" in finding.sentence and "stale weights" in finding.sentence


def test_thresholds_can_demand_an_exact_engine():
    steps = run(sampling__logprob_gap_mean=2e-5)
    assert diagnose(steps) == []
    assert only(diagnose(steps, Thresholds(gap_note=1e-5))).name == "logprob_gap"


@pytest.mark.parametrize("ratio", [0.3, 2.4])
def test_ratio_far_from_one_on_fresh_samples_stops(ratio):
    finding = only(live(run(1, ratio__mean=ratio)))
    assert (finding.level, finding.name) == ("alarm", "weight_sync")
    assert f"was {ratio} at step 1" in finding.sentence


def test_ratio_far_from_one_on_old_samples_is_no_alarm():
    assert diagnose(run(ratio__mean=0.3, staleness__mean=1.5)) == []


def test_effective_sample_staleness_and_cap():
    assert "effective sample of 31%" in only(diagnose(run(effective_sample_size=0.31))).sentence
    assert "3.5 weight versions old" in only(diagnose(run(staleness__mean=3.5))).sentence
    sentence = only(diagnose(run(completions__clipped_ratio=0.38, completions__max_length=64))).sentence
    assert sentence.startswith("38% of the rollouts of the last 10 steps were cut at the cap of 64 tokens")
    assert "`max_new_tokens`" in sentence


def test_old_tokens_without_a_correction_are_worth_a_word():
    old = {"staleness__carried_ratio": 0.4, "kept_tokens": 1000, "step_tokens": 1000}
    finding = only(diagnose(run(**old)))
    assert finding.level == "note" and "40% of the trained tokens of the last 10 steps" in finding.sentence
    assert "`policy_gradient.importance_cap: 2`" in finding.sentence
    assert diagnose(run(**old, importance__mean=0.99)) == []
    assert diagnose(run(**old | {"kept_tokens": 600})) == [], "the old ones are masked"
    assert diagnose(run(**old | {"staleness__carried_ratio": 0.1})) == []


def test_restarts_that_throw_much_away_are_told():
    finding = only(diagnose(run(leftovers__discarded_tokens=300, step_tokens=1000)))
    assert finding.level == "warn" and "threw away 30% as many tokens" in finding.sentence
    assert diagnose(run(leftovers__discarded_tokens=50, step_tokens=1000)) == []
    assert diagnose(run(leftovers__discarded_tokens=0, step_tokens=1000)) == []


def test_entropy_fall_is_a_worry_only_while_reward_stands_still():
    def falling(step):
        return 1.0 if step <= 10 else 0.1

    risen = only(diagnose(run(entropy=falling)))
    flat = only(diagnose(run(entropy=falling, reward=0.4)))
    assert (risen.level, flat.level) == ("note", "warn")
    assert "fell from 1 to 0.1 nats a token (to 10%) between steps 1 and 20" in flat.sentence
    assert "Reward rose from 0.411 to 0.431" in risen.sentence and "did not rise" in flat.sentence


def test_entropy_of_another_phase_is_not_compared():
    supervised = [row | {"phase": "sft", "entropy": 2.0} for row in run(10)]
    assert diagnose(supervised + run(10, entropy=0.2)) == []


def test_a_judge_with_one_value_is_counted_in_verdicts():
    finding = only(diagnose(run(8, rewards__exact__mean=0.0, rewards__exact__std=0.0)))
    assert finding.name == "constant_judge/exact"
    assert (
        "Your judge `exact` returned the same value, 0, 512 times in a row (the last 8 steps)"
        in finding.sentence
    )


def test_a_judge_whose_one_value_changes_between_steps_is_not_constant():
    assert diagnose(run(8, rewards__exact__mean=lambda step: step / 10, rewards__exact__std=0.0)) == []


def test_judge_errors_are_counted_and_an_outage_stops():
    few = only(diagnose(run(judge__errors=lambda step: 8 if step == 3 else 0)))
    assert (few.level, few.name) == ("note", "judge_errors") and "8 rollouts (0.6% of them)" in few.sentence
    outage = diagnose(run(judge__errors=lambda step: 64 if step > 17 else 0))
    assert (only(outage).level, only(outage).name) == ("alarm", "judge_outage")
    assert "failed on 192 rollouts in the last 3 steps" in only(outage).sentence
    assert only(diagnose(run(judge__errors=lambda step: 64 if step > 18 else 0))).level == "warn"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"correct": 0.0}, "because no rollout was ever correct"),
        ({"correct": 1.0}, "because every rollout was correct"),
        ({"group_size": 1.0, "correct": 0.0}, "because every group has one rollout"),
        ({"completions__clipped_ratio": 1.0}, "because every rollout was cut at the length cap"),
        ({"judge__errors": 60}, "because the judges failed on most rollouts"),
        ({"reward": None, "judge__errors": 0}, "because no judge had a verdict on any rollout"),
        ({}, "because all rollouts of every group earned the same reward"),
        ({"frac_reward_zero_std": 0.1, "rollouts__trained": 0}, "because no rollout was left to train on"),
    ],
)
def test_dead_steps_name_their_cause(changed, words):
    changed = {"frac_reward_zero_std": 1.0} | changed
    found = {finding.name: finding for finding in diagnose(run(5, **changed))}
    assert found["nothing_learned"].level == "warn"
    assert f"Nothing was learned in the last 5 steps {words}" in found["nothing_learned"].sentence
    assert "no_signal" not in found


def test_long_dead_runs_stop_unless_solved_or_the_judge_failed():
    def level(**changed):
        return {f.name: f.level for f in diagnose(run(30, frac_reward_zero_std=1.0, **changed))}[
            "nothing_learned"
        ]

    assert level(correct=0.0) == "alarm"
    assert level(correct=1.0) == "warn"
    assert level(correct=0.0, judge__errors=64) == "warn"


def test_flat_loss_is_explained_only_where_it_is_expected():
    finding = only(diagnose(run(loss=1e-7)))
    assert (finding.level, finding.name) == ("note", "flat_loss")
    assert "expected here" in finding.sentence and "it went from 0.411 to 0.431" in finding.sentence
    assert diagnose(run(loss=1e-7, ratio__mean=1.2)) == []
    assert diagnose([{"step": n, "phase": "sft", "loss": 0.0} for n in range(9)]) == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_numbers_stop_and_are_named(value):
    steps = run(
        loss=lambda step: value if step >= 5 else 0.3, grad_norm=lambda step: value if step >= 5 else 1.0
    )
    finding = only(diagnose(steps))
    assert (finding.level, finding.name) == ("alarm", "not_finite")
    assert "`loss`, `grad_norm` became" in finding.sentence and "at step 5" in finding.sentence


def test_a_skipped_update_may_report_nan():
    assert diagnose(run(2, loss=math.nan, rollouts__trained=0)) == []


def test_live_says_a_thing_once_and_again_when_it_is_worse():
    steps = run(30, frac_reward_zero_std=lambda step: 0.55 if step <= 15 else 0.95)
    said: list[Finding] = []
    when = []
    for count in range(1, len(steps) + 1):
        news = live(steps[:count], said)
        said += news
        when += [count] * len(news)
    assert when[0] == 3, "a rate needs three steps"
    assert len(when) == 2 and 15 < when[1] <= 30


def test_live_keeps_notes_for_the_end_and_repeats_when_the_level_rises():
    assert live(run(loss=0.0)) == []
    warned = live(run(sampling__logprob_gap_mean=0.045))
    assert only(live(run(sampling__logprob_gap_mean=0.055), warned)).level == "alarm"
    assert live(run(sampling__logprob_gap_mean=0.045), warned) == []


def test_worst_comes_first_and_the_input_is_left_alone():
    steps = run(ratio__mean=3.0, completions__clipped_ratio=0.5, loss=0.3, frac_reward_zero_std=0.3)
    before = [dict(row) for row in steps]
    assert [finding.level for finding in diagnose(steps)] == ["alarm", "warn", "note"]
    assert steps == before


def held_out(accuracy, low, high):
    return {"mode": "greedy", "phase": "grpo", "accuracy": accuracy, "low": low, "high": high}


def test_a_phase_that_unlearns_is_named_only_where_intervals_stand_apart():
    found = fallen(held_out(0.93, 0.89, 0.96), held_out(0.77, 0.71, 0.82))
    assert found.level == "warn" and found.size == pytest.approx(0.16) and found.phase == "grpo"
    assert "greedy, fell from 93% to 77%" in found.sentence and "learning_rate" in found.sentence
    assert fallen(held_out(0.93, 0.89, 0.96), held_out(0.90, 0.85, 0.93)) is None
    assert fallen(held_out(0.77, 0.71, 0.82), held_out(0.93, 0.89, 0.96)) is None


def troubled(seed: int, count: int) -> list[dict]:
    """Steps in which everything the doctor looks at comes, stays for a while and goes."""
    draw = random.Random(seed)
    values = {
        "loss": (0.3, 0.0, math.nan),
        "reward": (0.4, 0.9, None),
        "rewards/exact/mean": (0.5, 0.25),
        "rewards/exact/std": (0.0, 0.4, None),
        "rewards/other/mean": (1.0, 1.0 + 1e-14, None),
        "rewards/other/std": (0.0, 0.0, 0.1),
        "correct": (0.0, 1.0, 0.4),
        "group_size": (8,),
        "frac_reward_zero_std": (1.0, 0.3, 0.05),
        "completions/clipped_ratio": (1.0, 0.3, 0.0),
        "entropy": (0.8, 0.1, None),
        "ratio/mean": (1.0, 3.0, 1.0),
        "clip_range": (0.2, 0.001, None),
        "sampling/logprob_gap_mean": (1e-7, 0.004, 0.02, 0.06, None),
        "effective_sample_size": (0.97, 0.3),
        "judge/errors": (0, 1, 64),
        "rollouts/judged": (64, 32, None),
        "rollouts/trained": (60, 0),
        "staleness/mean": (0.0, 3.0),
        "staleness/carried_ratio": (0.0, 0.5),
        "step_tokens": (100, 200),
        "kept_tokens": (100,),
        "leftovers/discarded_tokens": (0, 50),
        "hacking_gap": (0.0, 0.12, 0.3, None),
        "win_rate/judge": (0.5,),
        "hinge/closed_ratio": (0.5, None),
    }
    rows, now = [], {}
    for step in range(1, count + 1):
        now |= {name: draw.choice(kinds) for name, kinds in values.items() if not now or draw.random() < 0.06}
        rows.append({"phase": "warm" if step < count // 4 else "grpo", "step": step, **now})
    return rows


@pytest.mark.parametrize("seed", range(6))
def test_watching_step_by_step_says_what_looking_at_all_steps_says(seed):
    rows, said, names, seen = troubled(seed, 120), [], set(), []
    watch = Watch(seen)
    for count in range(1, len(rows) + 1):
        seen.append(rows[count - 1])
        news = watch.news(said)
        assert news == live(rows[:count], said)
        assert Watch(rows[:count]).news(said) == news, "as after a resume"
        names |= {finding.name for finding in news}
        said += news
    assert len(names) > 6


class Counted(dict):
    """A row that counts how often it is read."""

    reads = 0

    def get(self, *key):
        Counted.reads += 1
        return super().get(*key)


@pytest.mark.parametrize("solved", [False, True])
def test_a_step_late_in_a_run_costs_no_more_than_one_early_on(solved):
    changed = {"correct": 1.0, "frac_reward_zero_std": 1.0, "rewards__exact__std": 0.0} if solved else {}
    changed |= {"rewards__exact__mean": 1.0} if solved else {}
    reads, said, seen = [], [], []
    watch = Watch(seen)
    for row in run(400, **changed):
        before = Counted.reads
        seen.append(Counted(row))
        said += watch.news(said)
        reads.append(Counted.reads - before)
    assert max(reads[300:]) <= max(reads[50:100])


def test_a_collapsed_codebook_is_said_with_its_numbers():
    steps = [{"phase": "a", "codes/perplexity": 8.0, "codes/in_use": 8 / 256} for _ in range(5)]
    found = [finding for finding in diagnose(steps) if finding.name == "codebook_collapse"]
    assert len(found) == 1 and found[0].level == "warn"
    assert "used 8 codes, 3% of the codebook" in found[0].sentence
    used = [{"phase": "a", "codes/perplexity": 20.0, "codes/in_use": 20 / 256} for _ in range(5)]
    assert not [finding for finding in diagnose(used) if finding.name == "codebook_collapse"]


def demonstrated(nll, **more):
    return [
        {"step": n, "phase": "sft", "nll": nll(n), "completions/clipped_ratio": 0.0, **more}
        for n in range(1, 21)
    ]


def test_demonstrations_that_are_cut_are_not_told_of_a_reward():
    cut = {"completions/clipped_ratio": 1.0, "completions/max_length": 6}
    sentence = only(diagnose(demonstrated(lambda n: 2.0 / n, **cut))).sentence
    assert sentence.startswith(
        "100% of the demonstrations of the last 10 steps were cut at the cap of 6 tokens"
    )
    assert "reward" not in sentence and "select" not in sentence and "max_new_tokens" in sentence
    unjudged = diagnose(run(5, reward=None, judge__errors=0, frac_reward_zero_std=1.0, **cut))
    (said,) = [finding.sentence for finding in unjudged if finding.name == "cap_hits"]
    assert said.startswith("100% of the rollouts of the last 5 steps"), (
        "sampled, though no judge said anything"
    )


def test_a_rising_loss_of_demonstrations_is_said_to_diverge():
    finding = only(diagnose(demonstrated(lambda n: 1.0 + n)))
    assert (finding.level, finding.name) == ("warn", "rising_loss")
    assert "`nll` rose from 6.5 to 16.5" in finding.sentence and "training diverges" in finding.sentence
    assert diagnose(demonstrated(lambda n: 3.0 / n)) == []
    assert diagnose(demonstrated(lambda n: 2.0 + (-1) ** n)) == []
    assert "rising_loss" not in [f.name for f in diagnose(run(nll=lambda n: 1.0 + n))]
