"""The learner: any cut of a batch gives the same weights, no signal changes nothing, faults are named."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from oneloop.core import storage
from oneloop.core.rollouts import Rollouts
from oneloop.run.metrics import batch_metrics, effective_share
from oneloop.update.learner import Learner, Learning
from oneloop.update.not_finite import NotFinite
from oneloop.update.objective.entropy_bonus import EntropyBonus
from oneloop.update.objective.kl import Kl
from oneloop.update.objective.policy_gradient import PolicyGradient
from oneloop.update.objective.supervised import Supervised
from tests.support.rounding import room
from tests.update.small_policy import SmallHere, SmallPolicy, batch, made, weights_of

LENGTHS = {"constant": {"constant_length": 9}}
PAIRS = [(mean, over) for mean in ("action", "rollout", "group", "constant") for over in ("kept", "all")]


def after_two(moved, mean, over, ratio, budget):
    """(learner, readings [3, N], policy) after two batches, from starting weights that `moved` changed."""
    policy = SmallPolicy()
    moved(policy.model)
    gradient = PolicyGradient(mean=mean, over=over, ratio=ratio, **LENGTHS.get(mean, {}))
    objectives = [gradient, Kl(coefficient=0.3), EntropyBonus(coefficient=0.1)]
    learner = made(policy, objectives, tokens_per_micro_batch=budget)
    learner(batch(policy))
    learned = learner(batch(policy, seed=1))
    columns = torch.stack([learned.actions[name] for name in ("ratio", "kl", "entropy")])
    return learner, columns.nan_to_num(-7), policy


@pytest.mark.parametrize(("mean", "over"), PAIRS)
@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_any_budget_gives_the_same_weights_and_readings(mean, over, ratio):
    results = []
    for budget in (10**6, 9, 6, 1):
        learner, columns, policy = after_two(lambda model: model, mean, over, ratio, budget)
        results.append((weights_of(learner), columns, learner.metrics, policy.pieces))
    (weights, columns, metrics, pieces), *others = results
    assert pieces == 4  # two batches, each sampled and learned from

    size = torch.tensor([abs(value) or 1.0 for value in metrics.values()], dtype=torch.float64)

    def shares(moved):
        numbers = after_two(moved, mean, over, ratio, 10**6)[0].metrics
        return torch.tensor([*numbers.values()], dtype=torch.float64) / size

    near = room(shares)  # relative: some metrics are numbers of tokens
    gap = room(lambda moved: weights_of(after_two(moved, mean, over, ratio, 10**6)[0]))
    scale = 1 + columns.abs()  # the estimate of a KL is exponential, and may be large
    far = room(lambda moved: after_two(moved, mean, over, ratio, 10**6)[1] / scale)
    for other, seen, numbers, more in others:
        assert more > pieces
        assert (other - weights).abs().max() <= gap
        assert ((seen - columns) / scale).abs().max() <= far
        assert numbers == pytest.approx(metrics, rel=near, abs=near)


def stepped(moved, objectives, **options):
    """Weights after one batch, from starting weights that `moved` changed."""
    policy = SmallPolicy()
    moved(policy.model)
    learner = made(policy, objectives, **options)
    learner(batch(policy))
    return weights_of(learner)


def naive_weights(policy: SmallPolicy, rollouts: Rollouts, rate: float) -> torch.Tensor:
    """One AdamW step on the plain sentence: mean over kept actions of -ratio * advantage."""
    kept = (rollouts.actions.share > 0).nonzero().squeeze(1)
    here = SmallHere(policy, rollouts, kept)
    ratio = (here.logprob - rollouts.actions.logprob[kept]).exp()
    (-(ratio * rollouts.actions.advantage[kept]).mean()).backward()
    weights = list(policy.model.parameters())
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.95), weight_decay=0.0).step()
    return torch.cat([weight.detach().flatten().double() for weight in weights])


def test_one_step_is_adamw_on_the_mean_over_kept_actions():
    policy = SmallPolicy()
    expected = naive_weights(SmallPolicy(), batch(policy), rate=0.05)
    learner = made(policy, [PolicyGradient()])
    learner(batch(policy))
    gap = room(lambda moved: stepped(moved, [PolicyGradient()]))
    assert (weights_of(learner) - expected).abs().max() <= gap


def test_minibatches_are_steps_on_whole_groups_in_turn():
    policy, naive = SmallPolicy(), SmallPolicy()
    rollouts = batch(policy)
    learner = made(policy, [PolicyGradient()], minibatches=2, epochs=2, steps=1)
    assert learner.steps == 4
    learned = learner(rollouts)

    single = made(naive, [PolicyGradient()])
    passes = torch.full((2, len(rollouts.actions)), math.nan)
    for epoch in range(2):
        for index in range(2):
            rows = (rollouts.group % 2 == index).nonzero().squeeze(1)
            learned_alone = single(rollouts.take(rows))
            passes[epoch, rollouts.structure.take(rows)[0]] = learned_alone.actions.ratio
    gap = room(lambda moved: stepped(moved, [PolicyGradient()], minibatches=2, epochs=2, steps=1))
    assert (weights_of(learner) - weights_of(single)).abs().max() <= gap
    assert learner.updates == 4 and policy.version == 1

    # readings stand at the actions they belong to: the first minibatch met the weights that sampled it
    kept = rollouts.actions.share > 0
    first = (rollouts.spread((rollouts.group % 2 == 0).float()) > 0) & kept
    actions = learned.actions

    def ratios(moved):
        other = SmallPolicy()
        moved(other.model)
        read = made(other, [PolicyGradient()], minibatches=2, epochs=2, steps=1)(rollouts).actions
        return torch.stack([read[name] for name in ("ratio", "ratio_last", "ratio_low", "ratio_high")])

    close = room(ratios)
    assert (actions.ratio_low[first & (passes[1] > 1)] - 1).abs().max() <= close
    assert (actions.ratio_low[kept & ~first] - 1).abs().max() > 100 * close
    for name, expected in {
        "ratio": passes.mean(0),
        "ratio_last": passes[1],
        "ratio_low": passes.amin(0),
        "ratio_high": passes.amax(0),
    }.items():
        assert (actions[name][kept] - expected[kept]).abs().max() <= close, name
        assert actions[name][~kept].isnan().all()
    assert actions.logprob_gap[first].abs().max() <= close
    assert actions.logprob_gap[~first].isnan().all()


def test_metrics_describe_all_passes_over_a_batch():
    """Eight passes at a high rate: nearly every ratio ends outside of the clip range, and metrics say so."""
    policy = SmallPolicy()
    rollouts = batch(policy)
    learned = made(policy, [PolicyGradient(), Kl(where="kept")], epochs=8)(rollouts)
    with torch.no_grad():
        kept = (rollouts.actions.share > 0).nonzero().squeeze(1)
        here = SmallHere(policy, rollouts, kept)
        after = (here.logprob - rollouts.actions.logprob[kept]).exp()
    assert ((after < 0.8) | (after > 1.2)).double().mean() > 0.8
    metrics = batch_metrics(learned)
    assert metrics["ratio/max"] > 1.2 and metrics["ratio/min"] < 0.8
    assert 0 < metrics["clip_ratio/region_mean"] < metrics["clip_ratio/last_pass"]
    assert metrics["kl/last_pass"] != pytest.approx(metrics["kl"], rel=1e-2)
    assert metrics["effective_sample_size"] == pytest.approx(
        effective_share(learned.actions.ratio_last[kept])
    )
    assert metrics["effective_sample_size"] < 0.99
    once = batch_metrics(made(SmallPolicy(), [PolicyGradient(), Kl()])(rollouts))
    assert once["ratio/max"] == pytest.approx(1) and "clip_ratio/last_pass" not in once


def test_a_kl_on_all_actions_does_not_change_the_scaled_rate():
    """What is learned from are the rollouts with a kept action, whatever else an objective looks at."""
    rates = []
    for objectives in ([PolicyGradient()], [PolicyGradient(), Kl()], [Kl(), EntropyBonus(where="all")]):
        policy = SmallPolicy()
        rollouts = batch(policy)
        half = rollouts.put_actions(share=rollouts.actions.share * (rollouts.owner < 3))
        learner = made(policy, objectives, learning_rate=0.01, base_batch=12)
        learner(half)
        rates.append(learner.metrics["learning_rate"])
    assert rates == pytest.approx([0.01 * math.sqrt(3 / 12)] * 3)


class Recording(SmallPolicy):
    """Remembers which actions it was asked to forward."""

    def at(self, rollouts, actions):
        self.forwarded = [*getattr(self, "forwarded", []), *actions.tolist()]
        return super().at(rollouts, actions)


SKIPPING = {
    "token": [PolicyGradient()],
    "over all": [PolicyGradient(over="all", mean="rollout")],
    "sequence": [PolicyGradient(ratio="sequence", mean="rollout")],
    "with entropy": [PolicyGradient(), EntropyBonus(coefficient=0.1)],
    "with kl": [PolicyGradient(), Kl()],
}


@pytest.mark.parametrize("name", SKIPPING)
def test_what_teaches_nothing_is_not_forwarded_and_changes_nothing(name, monkeypatch):
    """Two groups of four without signal: the same weights as when everything is forwarded."""
    objectives, results = SKIPPING[name], []
    policy = Recording()
    rollouts = batch(policy)
    flat = (rollouts.group % 2 == 0)[rollouts.owner]
    rollouts = rollouts.put_actions(advantage=torch.where(flat, 0.0, rollouts.actions.advantage))
    for skip in (True, False):
        if not skip:
            monkeypatch.setattr(PolicyGradient, "teaches", lambda _, table: torch.ones_like(table.owner) > 0)
        policy = Recording()
        learner = made(policy, objectives, tokens_per_micro_batch=6)
        learner(rollouts)
        results.append((weights_of(learner), learner.metrics["loss"], learner.metrics["skipped_tokens"]))
        kept = rollouts.actions.share > 0
        idle = kept & flat if skip and len(objectives) == 1 else torch.zeros_like(flat)
        assert learner.metrics["skipped_tokens"] == idle.sum()
        assert not set(idle.nonzero().squeeze(1).tolist()) & set(policy.forwarded)
    (weights, loss, _), (expected, expected_loss, _) = results
    gap = room(lambda moved: stepped(moved, objectives, tokens_per_micro_batch=6))
    assert (weights - expected).abs().max() <= gap
    assert loss == pytest.approx(expected_loss, rel=0, abs=gap)


def test_the_gap_to_the_sampler_leaves_out_what_was_sampled_from_another_prompt():
    policy = SmallPolicy()
    rollouts = batch(policy)
    seeded = (torch.arange(len(rollouts)) % 2).long()
    learned = made(policy, [PolicyGradient()])(rollouts.put(seeded=seeded))
    helped, kept = seeded[rollouts.owner] > 0, rollouts.actions.share > 0
    assert learned.actions.logprob_gap[helped].isnan().all()
    assert learned.actions.logprob_gap[~helped & kept].isfinite().all()


def test_a_minibatch_of_a_short_last_batch_may_be_missing():
    policy = SmallPolicy()
    learner = made(policy, [PolicyGradient()], minibatches=4)
    learner(batch(policy).take(torch.tensor([0, 1])))
    assert learner.updates == 1 and math.isfinite(learner.metrics["loss"])


def bits(learner: Learner) -> list[Any]:
    return [weights_of(learner), learner.optimizer.state_dict()["state"]]


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def clone(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: clone(item) for key, item in value.items()}
    return [clone(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("without", ["advantage", "share", "verdict"])
def test_a_step_without_signal_changes_nothing(without):
    policy = SmallPolicy()
    learner = made(policy, [PolicyGradient()], weight_decay=0.5)
    rollouts = batch(policy)
    learner(rollouts)  # momentum is there now, and would move the weights
    before = clone(bits(learner))
    changes = {
        "advantage": {"advantage": torch.zeros(len(rollouts.actions))},
        "share": {"share": torch.zeros(len(rollouts.actions))},
        "verdict": {"advantage": torch.full((len(rollouts.actions),), math.nan)},
    }
    learner(rollouts.put_actions(changes[without]))
    assert equal(before, bits(learner))
    assert learner.metrics["grad_norm"] == 0 and learner.metrics["loss"] == 0
    assert learner.updates == 2, "the schedule goes on"
    learner(rollouts)
    assert not equal(before, bits(learner))


@dataclass
class Broken:
    """-log p, but `value` at one action."""

    at: int
    value: float = math.nan

    def __call__(self, here, rollouts, actions):
        loss = -here.logprob
        return torch.where(actions == self.at, torch.full_like(loss, self.value), loss), {}


@pytest.mark.parametrize(("value", "shown"), [(math.nan, "nan"), (math.inf, "inf")])
def test_a_loss_that_is_not_finite_names_objective_and_rollout(value, shown):
    policy = SmallPolicy()
    rollouts = batch(policy)
    action = int((rollouts.owner == 4).nonzero()[3])  # rollout 104, group 2, its fourth action
    assert rollouts.actions.share[action] > 0
    learner = made(policy, [Supervised(), Broken(action, value)], tokens_per_micro_batch=6)
    before = clone(bits(learner))
    with pytest.raises(
        NotFinite, match=rf"Broken gives a loss of {shown} for rollout 104 \(group 2\), action 3"
    ):
        learner(rollouts)
    assert equal(before, bits(learner))
    # whoever goes on after this does not learn from what was accumulated before the fault
    clean, fresh = made(policy, [Supervised()]), SmallPolicy()
    learner.objectives = clean.objectives
    learner(rollouts)
    expected = made(fresh, [Supervised()])
    expected(rollouts)
    gap = room(lambda moved: stepped(moved, [Supervised()]))
    assert (weights_of(learner) - weights_of(expected)).abs().max() <= gap


def test_what_does_not_count_may_be_nan():
    policy = SmallPolicy()
    rollouts = batch(policy)
    left_out = int((rollouts.actions.share == 0).nonzero()[0])
    learner = made(policy, [Supervised(), Broken(left_out)])
    learner(rollouts)
    assert weights_of(learner).isfinite().all()


def test_a_gradient_that_is_not_finite_changes_nothing():
    class Steep(Broken):
        def __call__(self, here, rollouts, actions):
            return (here.logprob * 0).sqrt(), {}  # loss 0, gradient inf * 0

    policy = SmallPolicy()
    learner = made(policy, [Steep(0)])
    before = clone(bits(learner))
    with pytest.raises(NotFinite, match="gradient norm is nan although every loss is finite"):
        learner(batch(policy))
    assert equal(before, bits(learner))
    assert all(weight.grad is None for weight in learner.parameters)


def test_out_of_memory_halves_the_budget_and_says_so():
    results = []
    for fail in ([], [2], [1, 4]):
        policy = SmallPolicy()
        rollouts = batch(policy)
        policy.pieces, policy.fail = 0, fail
        learner = made(policy, [PolicyGradient(), Kl()], tokens_per_micro_batch=12)
        learned = learner(rollouts)
        results.append((learner, learned))
    (smooth, expected), *rest = results
    gap = room(lambda moved: stepped(moved, [PolicyGradient(), Kl()], tokens_per_micro_batch=12))
    assert smooth.notices == []
    for (learner, learned), budget in zip(rest, (6, 3), strict=True):
        assert learner.budget == budget
        assert f"forward {budget} tokens" in learner.notices[-1]
        assert (weights_of(learner) - weights_of(smooth)).abs().max() <= gap
        ratio = expected.actions.ratio
        torch.testing.assert_close(learned.actions.ratio, ratio, rtol=0, atol=gap, equal_nan=True)


def test_out_of_memory_on_a_single_token_is_an_error():
    policy = SmallPolicy()
    learner = made(policy, [PolicyGradient()], tokens_per_micro_batch=4)
    rollouts = batch(policy)
    policy.pieces, policy.fail = 0, [1, 2, 3]
    with pytest.raises(torch.OutOfMemoryError):
        learner(rollouts)
    assert learner.budget == 1


def rates(steps: int, **options: Any) -> list[float]:
    policy = SmallPolicy()
    learner = made(policy, [Supervised()], steps, learning_rate=0.8, **options)
    seen = []
    for _ in range(steps):
        learner(batch(policy))
        seen.append(learner.metrics["learning_rate"])
        if options.get("minibatches", 1) == 1:
            assert learner.optimizer.param_groups[0]["lr"] == seen[-1]
    return seen


def test_a_micro_batch_shrinks_on_a_cpu_as_the_model_grows_unless_it_is_given():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    sizes = (2**20 - 1, 2**20, 2**25 - 1, 2**25)
    assert [Learning().micro_batch(cpu, size) for size in sizes] == [4096, 2048, 2048, 1024]
    assert {Learning().micro_batch(gpu, size) for size in sizes} == {16384}
    assert Learning(tokens_per_micro_batch=7).micro_batch(cpu, 2**30) == 7


def test_schedules():
    assert rates(3) == pytest.approx([0.8] * 3)
    assert rates(4, schedule="linear") == pytest.approx([0.8, 0.6, 0.4, 0.2])
    assert rates(6, schedule="linear", warmup=2) == pytest.approx([0.4, 0.8, 0.8, 0.6, 0.4, 0.2])
    cosine = [0.4 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]
    assert rates(4, schedule="cosine") == pytest.approx(cosine)
    assert rates(4, warmup=3) == pytest.approx([0.8 / 3, 1.6 / 3, 0.8, 0.8])
    assert rates(2, schedule="linear", minibatches=2) == pytest.approx([0.7, 0.3])


def test_the_rate_is_scaled_to_the_rollouts_learned_from():
    policy = SmallPolicy()
    rollouts = batch(policy)
    learned_from = len(rollouts.owner[rollouts.actions.share > 0].unique())
    assert learned_from == len(rollouts) - 1  # one has no action
    learner = made(policy, [PolicyGradient()], learning_rate=0.01, base_batch=28, warmup=2)
    learner(rollouts)
    assert learner.metrics["learning_rate"] == pytest.approx(0.01 / 2 * 0.5)  # sqrt(7 / 28), warming up
    assert learner.optimizer.param_groups[0]["lr"] == learner.metrics["learning_rate"]
    said = "learning rate 0.01 x sqrt scaling from 28 to 7 rollouts a step = 0.005 (learner.base_batch)"
    assert learner.notices == [said]
    half = rollouts.put_actions(share=rollouts.actions.share * (rollouts.group % 2 == 0)[rollouts.owner])
    learner(half)
    left = len(half.owner[half.actions.share > 0].unique())
    assert learner.metrics["learning_rate"] == pytest.approx(0.01 * math.sqrt(left / 28))
    assert learner.notices == [said], "said once"
    learner(rollouts.put_actions(share=torch.zeros(len(rollouts.actions))))  # nothing to learn from
    assert learner.metrics["learning_rate"] == pytest.approx(0.01) and learner.metrics["grad_norm"] == 0


def test_minibatches_are_scaled_each_by_itself():
    policy = SmallPolicy()
    rollouts = batch(policy)
    options = {"learning_rate": 0.01, "base_batch": 1, "scaling": "linear"}
    learner = made(policy, [PolicyGradient()], minibatches=2, **options)
    learner(rollouts)
    counts = [
        len(piece.owner[piece.actions.share > 0].unique())
        for piece in (rollouts.take(rollouts.group % 2 == index) for index in range(2))
    ]
    assert learner.metrics["learning_rate"] == pytest.approx(0.01 * sum(counts) / 2)
    unscaled = made(SmallPolicy(), [PolicyGradient()], learning_rate=0.01)
    unscaled(rollouts)
    assert unscaled.metrics["learning_rate"] == 0.01 and unscaled.notices == []


def test_a_scaled_rate_is_that_rate():
    one, other = SmallPolicy(), SmallPolicy()
    scaled = made(one, [PolicyGradient()], learning_rate=0.01, base_batch=28)
    plain = made(other, [PolicyGradient()], learning_rate=0.005)
    scaled(batch(one)), plain(batch(other))
    assert torch.equal(weights_of(scaled), weights_of(plain))


def test_clipping_scales_to_the_norm_and_reports_the_norm_before():
    norms = {}
    for limit in (None, 1e-3):
        policy = SmallPolicy()
        learner = made(policy, [Supervised()], max_grad_norm=limit)
        seen = []
        learner.optimizer.step = lambda seen=seen, learner=learner: seen.extend(learner.stepper.gradients())
        learner(batch(policy))
        norms[limit] = float(torch.nn.utils.get_total_norm(seen))
        assert learner.metrics["grad_norm"] > 0.01
    assert norms[1e-3] == pytest.approx(1e-3) and norms[None] == pytest.approx(learner.metrics["grad_norm"])


def test_weight_decay_is_for_matrices_only():
    policy = SmallPolicy()
    learner = made(policy, [Supervised()], weight_decay=0.5)
    decays = {
        len(group["params"][0].shape): group["weight_decay"] for group in learner.optimizer.param_groups
    }
    assert decays == {2: 0.5, 1: 0.0}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_state_goes_on_to_the_bit(tmp_path, dtype):
    options = {"schedule": "cosine", "warmup": 1, "weight_decay": 0.1, "tokens_per_micro_batch": 9}
    one = SmallPolicy(dtype)
    learner = made(one, [PolicyGradient()], **options)
    for seed in range(2):
        learner(batch(one, seed))
    learner.budget = 5  # as after running out of memory
    storage.write_folder(tmp_path / "x", lambda path: storage.write_state(path, learner.state_dict()))

    two = SmallPolicy(dtype)
    two.model.load_state_dict(one.model.state_dict())
    two.version = one.version
    again = made(two, [PolicyGradient()], **options)
    again.load_state_dict(storage.read_state(tmp_path / "x"))
    for seed in range(2, 5):
        rollouts = batch(one, seed)
        left, right = learner(rollouts), again(rollouts)
        assert learner.metrics == again.metrics
        assert equal(clone(left.actions.columns)["ratio"].nan_to_num(), right.actions["ratio"].nan_to_num())
    assert equal(bits(learner), bits(again)) and equal(learner.master, again.master)


def test_bf16_weights_have_an_fp32_master_that_collects_small_steps():
    policy = SmallPolicy(torch.bfloat16)
    learner = made(policy, [Supervised()], learning_rate=1e-4)
    start = weights_of(learner).clone()
    assert all(weight.dtype == torch.float32 for weight in learner.master)
    losses = []
    for _ in range(60):
        learner(batch(policy))
        losses.append(learner.metrics["loss"])
    for master, weight in zip(learner.master, learner.parameters, strict=True):
        assert torch.equal(master.bfloat16(), weight)
    # one step is below half a unit of bf16, so without the master nothing would ever move
    assert (weights_of(learner) - start).abs().max() > 2e-3
    assert losses[-1] < losses[0]


def test_nothing_sampled_by_these_weights_gives_no_gap():
    policy = SmallPolicy()
    rollouts = batch(policy)
    learned = made(policy, [PolicyGradient()])(
        rollouts.put_actions(version=torch.full((len(rollouts.actions),), -1))
    )
    assert learned.actions.logprob_gap.isnan().all()
