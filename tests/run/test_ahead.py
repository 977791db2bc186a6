"""Sampling ahead: versions are exact, runs repeat to the bit, kills and errors lose and double nothing."""

import json
import threading
from collections import Counter

import pytest
import torch

from oneloop.core import draws, storage
from oneloop.core.rollouts import Rollouts
from oneloop.judge.stage import Judging
from oneloop.recipe.reading import RecipeError
from oneloop.recipe.recipe import load_recipe
from oneloop.run.ahead import Ahead
from oneloop.run.checkpoint import checkpoints
from oneloop.run.run import Run
from oneloop.run.samplers import beside
from oneloop.sample.policies.apart import trained
from oneloop.sample.policies.tokens.policy import LanguagePolicy
from oneloop.update.learner import Learner
from tests.run.test_flow_run import raw as flow
from tests.run.test_run import rows_of
from tests.support.stopped import Stop, StopAt
from tests.support.training import (
    assert_equal,
    cut_and_resumed,
    lines,
    outcome,
    raw_recipe,
    recipe,
    run_quietly,
    train,
)

AHEAD = {"runtime": {"ahead": 1}}


def plain(ahead, steps=6, **runtime):
    """One phase of plain GRPO: two groups of four in flight, every group used."""
    raw = raw_recipe(evaluate=None, save_every=2)
    phase = raw["phases"]["reinforce"]
    phase["steps"] = steps
    phase["plan"] = {name: phase["plan"][name] for name in ("data", "groups", "count")}
    return raw | {"phases": {"reinforce": phase}, "runtime": {"ahead": ahead, **runtime}}


def versions(directory):
    """{step: versions of its tokens}, of trained rollouts."""
    return {
        step: {version for row in rows for version in row["version"]}
        for step, rows in rows_of_steps(directory).items()
    }


def rows_of_steps(directory):
    found = {}
    for row in rows_of(directory):
        if row["trained"]:
            found.setdefault(row["step"], []).append(row)
    return found


@pytest.mark.parametrize(("ahead", "samplers"), [(1, 1), (1, 2), (2, 1), (3, 2)])
def test_batch_i_is_sampled_with_version_i_minus_ahead_exactly(tmp_path, ahead, samplers):
    train(tmp_path / "run", **plain(ahead, samplers=samplers))
    assert versions(tmp_path / "run") == {step: {max(0, step - 1 - ahead)} for step in range(1, 7)}
    steps = [line for line in lines(tmp_path / "run") if line["kind"] == "step"]
    assert [step["staleness/max"] for step in steps] == [min(step, ahead) for step in range(6)]
    assert steps[-1][f"staleness/lag_{ahead}"] == 1.0


def test_tokens_are_those_of_the_weights_of_their_version(tmp_path):
    """Every stored log-prob is the one that the saved weights of its version give."""
    raw = plain(1, steps=4) | {"save_every": 1, "keep_checkpoints": 10}
    train(tmp_path / "run", **raw)
    policy = recipe(**raw).policy.open()
    saved = {0: [weight.clone() for weight in trained(policy.model)]}
    for path in checkpoints(tmp_path / "run"):
        policy.restore(path, storage.read_state(path / "loop")["policy"])
        saved[policy.version] = [weight.clone() for weight in trained(policy.model)]
    sampler = policy.apart()
    plan = recipe(**raw).phases["reinforce"].plan
    plan.begin(int(draws.mix(5, "phase", 0) >> 1), 4)
    for step, rows in rows_of_steps(tmp_path / "run").items():
        asked = plan.more(limit=2, ahead=step)  # nothing is told, so all of them are out
        sampler.take(saved[max(0, step - 2)], max(0, step - 2))
        finished, _ = sampler.sample(asked)
        mine = sorted(rows, key=lambda row: row["id"])
        assert [row["id"] for row in mine] == finished.id.tolist()
        assert [token for row in mine for token in row["token"]] == finished.actions.token.tolist()
        stored = torch.tensor([value for row in mine for value in row["logprob"]])
        assert torch.equal(stored, finished.actions.logprob)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run of two phases left alone, with groups refused and rollouts in flight."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    train(directory, **AHEAD)
    return outcome(directory)


def test_strict_order_repeats_to_the_bit(whole, tmp_path):
    train(tmp_path / "again", keep_checkpoints=100, **AHEAD)
    assert_equal(whole, outcome(tmp_path / "again"))
    states = [json.loads((path / "loop/state.json").read_text()) for path in checkpoints(tmp_path / "again")]
    assert any(state["ahead"]["out"] for state in states if "ahead" in state), "asks were out"
    refused = [row for row in rows_of(tmp_path / "again") if not row["trained"]]
    assert refused, "groups were refused"


@pytest.mark.parametrize(("what", "number"), [("step", 6), ("step", 9), ("says", 4)])
def test_stopped_anywhere_and_resumed_equals_the_run_left_alone(whole, tmp_path, what, number):
    directory = tmp_path / "run"
    with pytest.raises(Stop):
        Run(recipe(**AHEAD), directory, False, StopAt(number, what)).train()
    train(directory, resume=True, **AHEAD)
    assert_equal(whole, outcome(directory))


def test_a_judge_that_raises_loses_nothing_that_was_sampled(tmp_path, monkeypatch):
    calls, judged = Counter(), Judging.__call__

    def away(self, rollouts):
        calls["judge"] += 1
        if calls["judge"] == 3:
            raise KeyboardInterrupt("the judge was interrupted")
        return judged(self, rollouts)

    sampled = Counter()
    raw = plain(2, steps=5)
    directory = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Judging, "__call__", away)
        with pytest.raises(KeyboardInterrupt, match="the judge was interrupted"):
            train(directory, **raw)
    entries = [storage.read_entry(path) for path in sorted(directory.glob("journal/reinforce/ask-*"))]
    assert [entry["judged"] for entry in entries][:3] == [True, True, False]
    for entry in entries:
        sampled.update(entry["finished"]["rollouts"]["id"].tolist())
    assert max(sampled.values()) == 1
    before = {path.name: path.read_bytes() for path in directory.glob("journal/reinforce/ask-*")}
    train(directory, resume=True, **raw)
    train(tmp_path / "whole", **raw)
    assert_equal(outcome(tmp_path / "whole"), outcome(directory))
    assert len(before) >= 3


def test_what_is_out_when_a_budget_ends_the_phase_is_held_and_written(tmp_path):
    raw = plain(2, steps=50)
    raw["phases"]["reinforce"]["budget"] = {"sampled_tokens": 120}
    train(tmp_path / "run", **raw)
    rows = rows_of(tmp_path / "run")
    held = [row for row in rows if not row["trained"]]
    assert held and len({row["id"] for row in rows}) == len(rows)
    assert sorted(row["id"] for row in rows) == list(range(len(rows)))


def test_samplers_without_ahead_are_refused():
    with pytest.raises(RecipeError, match="samplers 2 need `ahead` of at least 1"):
        load_recipe(raw_recipe(runtime={"samplers": 2}))
    with pytest.raises(RecipeError, match="runtime.ahead"):
        load_recipe(raw_recipe(runtime={"ahead": -1}))


def test_a_policy_that_cannot_sample_apart_is_named():
    with pytest.raises(ValueError, match="runtime.ahead: object cannot sample beside its update"):
        beside(recipe(**plain(1)), "reinforce", object(), None, print)


def test_options_of_a_cluster_are_refused_in_threads():
    with pytest.raises(RecipeError, match="judges, address: only for backend 'ray', got backend 'threads'"):
        load_recipe(raw_recipe(runtime={"ahead": 1, "judges": 2, "address": "10.0.0.1:6379"}))


def test_a_run_says_who_waited_for_whom(tmp_path):
    made = train(tmp_path / "run", **plain(1))
    steps = made.history
    assert len(steps) == 6
    for step in steps:
        shares = {name: value for name, value in step.items() if name.startswith(("runtime/b", "runtime/w"))}
        assert set(shares) == {
            *("runtime/busy/sample", "runtime/busy/judge", "runtime/busy/learn"),
            *("runtime/waits/sample", "runtime/waits/judge"),
        }
        assert all(0 <= value <= 1 for value in shares.values())
        waited = step["runtime/waits/sample"] + step["runtime/waits/judge"]
        assert step["runtime/busy/learn"] == pytest.approx(1 - waited, abs=1e-6)
        assert 0 <= step["runtime/out"] <= 2 and step["runtime/period"] > 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Who waited for whom" in page and "the formula of the ring" in page
    assert "Tokens of older weights" in page


def test_a_flow_policy_samples_ahead_and_resumes_to_the_bit(tmp_path):
    options = {**flow(), "evaluate": None, "runtime": {"ahead": 1}}

    def train_flow(directory, resume=False):
        run_quietly(load_recipe(options)[0], directory, resume)

    train_flow(tmp_path / "whole")
    steps = [
        line for line in lines(tmp_path / "whole") if line["kind"] == "step" and line["phase"] == "branch"
    ]
    assert [step["staleness/max"] for step in steps] == [0.0, 1.0, 1.0, 1.0, 1.0]
    assert_equal(outcome(tmp_path / "whole"), cut_and_resumed(train_flow, tmp_path / "cut", step=5))


@pytest.mark.parametrize(("bound", "kept"), [(None, False), (2, True)])
def test_the_update_waits_for_a_rollout_that_would_get_too_old(tmp_path, monkeypatch, bound, kept):
    """In the order of completion: the first group is held back until six batches are learned from, or until
    the update can go no further without it."""
    go, apart = threading.Event(), LanguagePolicy.apart

    def slow(policy):
        sampler = apart(policy)
        sample = sampler.sample
        sampler.sample = lambda asked: (0 in asked.group.tolist() and go.wait(4), sample(asked))[1]
        return sampler

    def published(self):
        if self.policy.version >= (1 if bound else 6):
            go.set()
        publish(self)

    publish = Ahead._publish
    monkeypatch.setattr(LanguagePolicy, "apart", slow)
    monkeypatch.setattr(Ahead, "_publish", published)
    raw = plain(2, steps=8, order="completion", samplers=2, max_staleness=bound)
    train(tmp_path / "run", **raw)
    steps = [line for line in lines(tmp_path / "run") if line["kind"] == "step"]
    assert len(steps) == 8
    assert (max(step["staleness/max"] for step in steps) <= 2) == kept


def test_rollouts_that_are_stopped_go_on_with_newer_weights_ahead_and_keep_the_bound(tmp_path, monkeypatch):
    """APRIL beside the update: three batches in flight, one ahead. A token's log-prob is that of the weights
    of its own version, which is what its truncated importance weight divides by."""
    raw = plain(1, steps=4, max_staleness=3) | {"save_every": 100}
    raw["policy"]["language"]["max_new_tokens"] = 28
    phase = raw["phases"]["reinforce"]
    phase["plan"]["in_flight"] = 6
    phase["objective"] = [{"policy_gradient": {"importance_cap": 2.0}}]
    batches, weights, update = [], [], Learner.__call__

    def seen(learner, rows):
        batches.append(rows)
        weights.append([weight.clone() for weight in trained(learner.policy.model)])
        return update(learner, rows)

    monkeypatch.setattr(Learner, "__call__", seen)
    train(tmp_path / "run", **raw)
    steps = [line for line in lines(tmp_path / "run") if line["kind"] == "step"]
    assert len(steps) == 4 and 1 < max(step["staleness/max"] for step in steps) <= 3
    batch = Rollouts.join(batches)
    assert (batch.gather(batch.actions.version.double()) % 1 > 0).any()  # some were stopped, and went on
    policy = recipe(**raw).policy.open()
    policy.version = -1  # nothing is taken from the sampler
    for version in batch.actions.version.unique().tolist():
        with torch.no_grad():
            torch._foreach_copy_(trained(policy.model), weights[version])
        gap = (policy.annotate(batch, ["proximal"]).actions.proximal - batch.actions.logprob).abs()
        assert gap[batch.actions.version == version].max() < 1e-4
        assert gap[batch.actions.version != version].max() > 1e-3


def test_a_bound_below_what_is_ahead_is_refused():
    with pytest.raises(RecipeError, match="max_staleness 1 needs `ahead` of 1 to 1, got 2"):
        load_recipe(plain(2, max_staleness=1))
    raw = plain(1, max_staleness=1)
    raw["phases"]["reinforce"]["plan"]["in_flight"] = 4
    with pytest.raises(RecipeError, match=r"lets groups wait for up to 2 updates; give at least 2"):
        load_recipe(raw)
