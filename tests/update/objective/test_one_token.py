"""OneToken against the worked numbers of the paper's closed form, its identities, and bad input."""

import itertools
import json
import math
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from oneloop.update.averaging import weights
from oneloop.update.objective.one_token import (
    OneToken,
    exact_loss,
    in_order,
    leave_one_out,
    policy_gradient_loss,
    sample_tokens,
)
from oneloop.update.objective.supervised import Supervised
from tests.support.toy import ToyPolicy, chains

WORKED = json.loads((Path(__file__).parents[2] / "worked" / "otr.json").read_text())
Z = torch.tensor(WORKED["logits"], dtype=torch.float64)
GOLD, WRONG = WORKED["gold"], WORKED["wrong_reward"]
temperatures = st.sampled_from([0.7, 1.0, 1.3, 2.0])
logit_rows = st.lists(st.floats(-4, 4), min_size=3, max_size=5).map(
    lambda z: torch.tensor([z], dtype=torch.float64)
)


def demonstrations(rows, token, logits):
    """`rows` one-action demonstrations of `token`, and a policy with these logits for each."""
    rollouts = chains([1] * rows).put_actions(token=torch.full((rows,), token))
    return rollouts, ToyPolicy(logits.expand(rows, -1))


def loss_and_gradient(objective, logits=Z, gold=GOLD):
    rollouts, policy = demonstrations(1, gold, logits)
    actions = torch.tensor([0])
    loss, _ = objective(policy.at(rollouts, actions), rollouts, actions)
    loss.sum().backward()
    return loss.item(), policy.logits.grad[0]


def gradient(loss_of, logits):
    logits = logits.clone().requires_grad_()
    loss_of(logits).sum().backward()
    return logits.grad


def close(measured, expected, atol=1e-8):
    torch.testing.assert_close(measured, torch.as_tensor(expected, dtype=measured.dtype), rtol=0, atol=atol)


def enumerated(logits, draws, temperature, loss_of):
    """Expectation over every tuple of `draws` tokens of softmax(logits / temperature)."""
    law = (logits.detach() / temperature).softmax(-1)[0]
    total = 0.0
    for picks in itertools.product(range(logits.shape[1]), repeat=draws):
        total = total + math.prod(law[i].item() for i in picks) * loss_of(logits, torch.tensor([picks]))
    return total


def rewards(samples, gold, wrong=WRONG):
    right = (samples == gold).double()
    return right + wrong * (1 - right)


@pytest.mark.parametrize("case", WORKED["exact"], ids=str)
def test_worked_exact(case):
    options = {name: case[name] for name in ("temperature", "baseline", "tempered_logprob") if name in case}
    loss, grad = loss_and_gradient(OneToken(estimator="exact", wrong_reward=WRONG, **options))
    close(grad, case["gradient"])
    if "loss" in case:
        assert loss == pytest.approx(case["loss"], abs=1e-8)


def test_worked_sft_and_dft():
    close(Z.softmax(-1), WORKED["p"])
    close((Z / 1.3).softmax(-1), WORKED["q"]["1.3"])
    loss, grad = loss_and_gradient(Supervised())
    assert loss == pytest.approx(WORKED["nll"], abs=1e-8)
    close(grad, WORKED["sft_gradient"])
    close(loss_and_gradient(Supervised(weigh="probability"))[1], WORKED["dft_gradient"])


def test_a_missing_stop_gradient_would_turn_the_sign():
    def wrong(z):
        return -((1 - WRONG) * z.softmax(-1)[:, GOLD] * z.log_softmax(-1)[:, GOLD]) - WRONG * (
            z.softmax(-1) * z.log_softmax(-1)
        ).sum(-1)

    close(gradient(wrong, Z[None])[0], WORKED["without_stop_gradient"])
    assert gradient(wrong, Z[None])[0, GOLD] > 0 > loss_and_gradient(OneToken(estimator="exact"))[1][GOLD]


def test_worked_fixed_samples():
    case = WORKED["fixed_samples"]
    samples = torch.tensor([case["samples"]])
    logits = Z[None].clone().requires_grad_()
    loss = policy_gradient_loss(logits, samples, rewards(samples, GOLD))
    loss.sum().backward()
    assert loss.item() == pytest.approx(case["loss"], abs=1e-8)
    close(logits.grad[0], case["gradient"])


def test_worked_in_sample_mean_baseline_with_two_draws_is_half_of_leave_one_out():
    def loss(z, samples):
        reward = rewards(samples, GOLD)
        return policy_gradient_loss(z, samples, reward - reward.mean(-1, keepdim=True))

    half = gradient(lambda z: enumerated(z, 2, 1.3, loss), Z[None])[0]
    close(2 * half, WORKED["exact"][3]["gradient"])


def test_worked_covariance_trace():
    p = Z.softmax(-1)
    rows = []
    for token in range(4):
        samples = torch.tensor([[token]])
        rows.append(gradient(lambda z, s=samples: policy_gradient_loss(z, s, rewards(s, GOLD)), Z[None])[0])
    per_token = torch.stack(rows)
    mean = p @ per_token
    trace = (p @ per_token.square()).sum() - mean.square().sum()
    assert trace.item() == pytest.approx(WORKED["covariance_trace"], abs=1e-8)


@pytest.mark.parametrize("case", WORKED["escape_time"], ids=str)
@pytest.mark.parametrize("name", ["sft", "otr"])
def test_worked_escape_time(case, name):
    """Time for p_gold to reach 1/2 when two logits follow the gradient of our own loss."""
    objective = Supervised() if name == "sft" else OneToken(estimator="exact", wrong_reward=0, temperature=1)
    z = torch.tensor([math.log(case["from"] / (1 - case["from"])) / 2, 0.0], dtype=torch.float64)
    z[1] = -z[0]

    def flow(z):
        return -loss_and_gradient(objective, z, 0)[1]

    time, step = 0.0, case[name] / 400
    while z[0] < z[1]:
        before = z[0] - z[1]
        slope = flow(z)
        middle = flow(z + step / 2 * slope)
        z = z + step * middle
        time += step
    fraction = ((z[0] - z[1]) / (z[0] - z[1] - before)).item()  # of the last step, past the crossing
    assert time - fraction * step == pytest.approx(case[name], rel=1e-3)


def test_worked_flow_of_a_mixture_of_demonstrations():
    d = torch.tensor(WORKED["mixture"]["d"], dtype=torch.float64)
    objective = OneToken(estimator="exact", wrong_reward=WRONG, temperature=1)
    flow = -sum(d[x] * loss_and_gradient(objective, gold=x)[1] for x in range(4))
    close(flow, WORKED["mixture"]["flow"])
    p = Z.softmax(-1)
    close(flow, 1.1 * p * (d - d @ p))


def test_worked_negative_loss_is_legal():
    case = WORKED["negative_loss"]
    logits = torch.zeros(case["vocabulary"], dtype=torch.float64)
    logits[3] = case["gold_logit"]
    objective = OneToken(estimator="exact", wrong_reward=WRONG, temperature=case["temperature"])
    assert loss_and_gradient(objective, logits, 3)[0] == pytest.approx(case["loss"], abs=1e-8)


@given(
    logit_rows, temperatures, st.sampled_from(["none", "leave_one_out"]), st.floats(-1, 0.9), st.booleans()
)
def test_exact_is_the_enumerated_expectation_of_sample(logits, temperature, baseline, wrong, tempered):
    own = temperature if tempered else 1.0

    def sampled(z, samples):
        reward = rewards(samples, 0, wrong)
        reward = leave_one_out(reward) if baseline == "leave_one_out" else reward
        return policy_gradient_loss(z, samples, reward, own)

    def exact(z):
        return exact_loss(z, torch.tensor([0]), wrong, temperature, baseline, own)

    expected = gradient(lambda z: enumerated(z, 2, temperature, sampled), logits)
    close(gradient(exact, logits), expected, atol=1e-10)
    if baseline == "none":
        close(exact(logits), enumerated(logits, 2, temperature, sampled), atol=1e-10)


@given(logit_rows, temperatures, st.floats(-3, 0.9))
def test_closed_form_and_gradients_sum_to_zero(logits, temperature, wrong):
    p, q = logits.softmax(-1), (logits / temperature).softmax(-1)
    x = torch.nn.functional.one_hot(torch.tensor([1]), logits.shape[1])
    measured = gradient(lambda z: exact_loss(z, torch.tensor([1]), wrong, temperature), logits)
    close(measured, -(1 - wrong) * q[:, 1:2] * (x - p) - wrong * (q - p), atol=1e-12)
    assert measured.sum().item() == pytest.approx(0, abs=1e-12)


@given(logit_rows, st.floats(-1, 0.9))
def test_at_temperature_1_exact_is_dft_times_one_minus_the_wrong_reward(logits, wrong):
    measured = gradient(lambda z: exact_loss(z, torch.tensor([0]), wrong, 1.0), logits)
    dft = gradient(lambda z: -z.softmax(-1)[:, 0].detach() * z.log_softmax(-1)[:, 0], logits)
    linear = gradient(lambda z: -z.softmax(-1)[:, 0], logits)
    close(measured, (1 - wrong) * dft, atol=1e-12)
    close(measured, (1 - wrong) * linear, atol=1e-12)


@given(logit_rows, temperatures, st.integers(0, 10**6))
def test_a_constant_reward_teaches_nothing(logits, temperature, seed):
    expected = gradient(lambda z: exact_loss(z, torch.tensor([0]), 1.0, temperature, "leave_one_out"), logits)
    close(expected, torch.zeros_like(expected), atol=1e-12)
    uniforms = torch.rand(1, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    reward = leave_one_out(rewards(sample_tokens(logits, uniforms, temperature), 0, 1.0))
    assert reward.eq(0).all()


@given(logit_rows, temperatures)
def test_importance_weighted_matches_recover_sft(logits, temperature):
    q = (logits / temperature).softmax(-1)

    def loss(z, samples):
        return policy_gradient_loss(z, samples, (samples == 0) / q[0, 0])

    measured = gradient(lambda z: enumerated(z, 1, temperature, loss), logits)
    close(measured, gradient(lambda z: -z.log_softmax(-1)[:, 0], logits), atol=1e-9)


def test_limits_of_the_temperature():
    cold = 1e-4
    right, wrong = (exact_loss(Z[None], torch.tensor([x]), WRONG, cold).item() for x in (0, 2))
    assert right == pytest.approx(-Z.log_softmax(-1)[0].item()) and wrong == pytest.approx(WRONG * right)
    rollouts, policy = demonstrations(1, GOLD, Z)
    actions = torch.tensor([0])
    _, readings = OneToken(estimator="exact", temperature=1e6)(
        policy.at(rollouts, actions), rollouts, actions
    )
    assert readings["hit_rate"].item() == pytest.approx(1 / 4, abs=1e-5)


def test_a_certain_policy_and_a_position_never_hit_have_no_gradient():
    certain = torch.tensor([0.0, 60.0, 0.0], dtype=torch.float64)
    assert loss_and_gradient(OneToken(estimator="exact"), certain, 1)[1].abs().max() < 1e-12
    hopeless = torch.tensor([60.0, 0.0, 0.0], dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert loss_and_gradient(OneToken(wrong_reward=0), hopeless, 1)[1].eq(0).all()


def test_hits_are_binomial():
    rows, draws = 400, 16
    rollouts, policy = demonstrations(rows, GOLD, Z)
    actions = torch.arange(rows)
    _, readings = OneToken(num_samples=draws, temperature=1.3)(
        policy.at(rollouts, actions), rollouts, actions
    )
    hits = (readings["hit_rate"] * draws).round().long()
    q = WORKED["q"]["1.3"][GOLD]
    expected = torch.tensor(
        [math.comb(draws, k) * q**k * (1 - q) ** (draws - k) * rows for k in range(draws + 1)]
    )
    kept = expected >= 5
    seen = torch.bincount(hits, minlength=draws + 1)
    chi_square = ((seen - expected).square() / expected)[kept].sum().item()
    assert chi_square < 30  # 8 to 9 degrees of freedom: less than one in a thousand


@given(st.integers(0, 10**6))
def test_draws_follow_the_law_and_never_hit_the_impossible(seed):
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, 6, generator=draw)
    logits[0, [0, 5]] = -math.inf
    uniforms = torch.cat(
        [torch.tensor([[0.0, 1 - 2**-53]]).double(), torch.rand(1, 2000, generator=draw).double()], 1
    )
    samples = sample_tokens(logits, uniforms, 1.3)[0]
    assert not set(samples.tolist()) & {0, 5}
    seen = torch.bincount(samples, minlength=6) / len(samples)
    torch.testing.assert_close(seen, (logits / 1.3).softmax(-1)[0], rtol=0, atol=0.06)


def test_every_token_of_a_large_vocabulary_is_drawn_as_often_as_its_law_says():
    """A uniform number from the middle of each token's interval, in float64, finds that token."""
    vocabulary = 151_936
    logits = 3 * torch.randn(1, vocabulary, generator=torch.Generator().manual_seed(0))
    law = (logits / 1.3).softmax(-1).double()
    ends = law.cumsum(-1) / law.sum()
    middles = ends - law / law.sum() / 2
    assert torch.equal(sample_tokens(logits, middles, 1.3)[0], torch.arange(vocabulary))


def test_a_draw_has_more_bits_than_fp32():
    """Tokens of probability 2^-30 below the first hundredth of the interval can be told apart."""
    logits = torch.zeros(1, 1 << 20) - 30 * math.log(2)
    logits[0, -1] = math.log(1 - 2**-10)
    places = (torch.arange(1 << 20).double() + 0.5)[None, : 1 << 19] * 2**-30
    total = logits.double().exp().sum()
    assert torch.equal(sample_tokens(logits, places / total, 1.0)[0], torch.arange(1 << 19))


def test_in_order_gives_sorted_uniform_numbers():
    draw = torch.Generator().manual_seed(0)
    numbers = in_order(torch.rand(20_000, 5, generator=draw, dtype=torch.float64))
    assert (numbers.diff(dim=-1) >= 0).all() and numbers.min() >= 0 and numbers.max() < 1
    means = torch.arange(1, 5).double() / 5  # the j-th of K uniform numbers is Beta(j, K + 1 - j)
    torch.testing.assert_close(numbers.mean(0), means, rtol=0, atol=5e-3)
    torch.testing.assert_close(numbers.var(0), means * (1 - means) / 6, rtol=0.05, atol=0)
    edge = in_order(torch.tensor([[0.0, 0.0, 1.0], [0.5, 1.0, 0.0]]))
    assert edge.isfinite().all() and (edge <= 1).all()


def test_impossible_tokens_are_legal_where_they_are_not_the_target():
    masked = torch.tensor([1.0, 0.5, -math.inf, 0.0], dtype=torch.float64)
    rest = masked[[0, 1, 3]]
    for estimator in ("exact", "sample"):
        loss, grad = loss_and_gradient(OneToken(estimator=estimator), masked, 1)
        assert math.isfinite(loss) and grad.isfinite().all() and grad[2] == 0
    exact = OneToken(estimator="exact")
    assert loss_and_gradient(exact, masked, 1)[0] == pytest.approx(loss_and_gradient(exact, rest, 1)[0])


@pytest.mark.parametrize(
    "objective", [OneToken(num_samples=8), OneToken(estimator="exact")], ids=["sample", "exact"]
)
def test_positions_left_out_change_nothing(objective):
    rollouts = chains([3, 2, 4], vocabulary=5)
    policy = ToyPolicy.random(rollouts)
    left_out = rollouts.put_actions(share=torch.tensor([1.0, 1, 1, 0, 0, 1, 1, 1, 1]))
    kept = left_out.actions.share.nonzero().squeeze(1)
    grad = policy.gradient(objective, left_out, [kept], weights(left_out, "action"))
    without = rollouts.take(torch.tensor([0, 2]))
    alone = ToyPolicy(policy.logits.detach()[kept])
    expected = alone.gradient(objective, without, [torch.arange(7)], weights(without, "action"))
    close(grad[kept], expected, atol=1e-15)
    assert grad[3:5].eq(0).all()


def test_draws_and_result_do_not_depend_on_chunks_or_batch(monkeypatch):
    rollouts = chains([3, 2, 4])
    policy = ToyPolicy.random(rollouts)
    everything = torch.arange(9)
    objective = OneToken(num_samples=16, baseline="leave_one_out")
    whole, readings = objective(policy.at(rollouts, everything), rollouts, everything)
    monkeypatch.setattr("oneloop.update.objective.one_token.CHUNK", 10)  # two positions at a time
    cut, cut_readings = objective(policy.at(rollouts, everything), rollouts, everything)
    assert torch.equal(whole, cut) and torch.equal(readings["hit_rate"], cut_readings["hit_rate"])
    again = rollouts.put_facts(step=4)
    assert not torch.equal(objective(policy.at(again, everything), again, everything)[0], whole)


def test_bf16_logits_are_read_in_fp32():
    logits = torch.randn(200, generator=torch.Generator().manual_seed(0)) * 3
    rounded = logits.bfloat16()
    for objective in (OneToken(estimator="exact"), OneToken(num_samples=64)):
        rollouts, policy = demonstrations(1, int(logits.argmax()), rounded)
        actions = torch.tensor([0])
        loss, readings = objective(policy.at(rollouts, actions), rollouts, actions)
        exact_policy = ToyPolicy(rounded.float()[None])
        expected, _ = objective(exact_policy.at(rollouts, actions), rollouts, actions)
        assert loss.dtype == torch.float32 and loss.item() == pytest.approx(expected.item(), rel=1e-2)
        loss.sum().backward()
        assert policy.logits.grad.dtype == torch.bfloat16 and policy.logits.grad.isfinite().all()


def test_readings():
    rollouts, policy = demonstrations(3, GOLD, Z)
    actions = torch.arange(3)
    _, readings = OneToken(estimator="exact", temperature=1.3)(
        policy.at(rollouts, actions), rollouts, actions
    )
    assert readings["nll"].tolist() == pytest.approx([WORKED["nll"]] * 3)
    assert readings["hit_rate"].tolist() == pytest.approx([WORKED["q"]["1.3"][GOLD]] * 3)
    assert readings["entropy"].tolist() == pytest.approx(
        [-sum(p * math.log(p) for p in WORKED["p"])] * 3, abs=1e-7
    )


@pytest.mark.parametrize(
    "options",
    [
        {"wrong_reward": 1},
        {"temperature": 0},
        {"temperature": -1},
        {"num_samples": 0},
        {"num_samples": 1, "baseline": "leave_one_out"},
        {"estimator": "both"},
    ],
    ids=str,
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ValidationError):
        OneToken(**options)


def test_a_wrong_reward_below_minus_1_warns():
    with pytest.warns(UserWarning, match="wrong_reward=-2.0 outweighs"):
        OneToken(wrong_reward=-2)


@pytest.mark.parametrize("estimator", ["sample", "exact"])
def test_bad_demonstrations_are_named(estimator):
    rollouts = chains([2, 2]).put_actions(token=torch.tensor([0, 1, 4, 1]))
    logits = torch.zeros(4, 4, dtype=torch.float64)
    everything = torch.arange(4)
    objective = OneToken(estimator=estimator)
    with pytest.raises(ValueError, match=r"token 4 at position 0 of rollout 1 \(id 101\).*vocabulary of 4"):
        objective(ToyPolicy(logits).at(rollouts, everything), rollouts, everything)
    rollouts = rollouts.put_actions(token=torch.tensor([0, 1, 3, 1]))
    for value, words in ((-math.inf, "probability 0"), (math.nan, "not finite"), (math.inf, "not finite")):
        broken = logits.clone()
        broken[3, 1] = value
        with pytest.raises(ValueError, match=rf"{words}.* at position 1 of rollout 1 \(id 101\)"):
            objective(ToyPolicy(broken).at(rollouts, everything), rollouts, everything)


def test_demonstrations_nobody_would_say_warn():
    logits = torch.zeros(4, dtype=torch.float64)
    logits[0] = 50.0
    rollouts, policy = demonstrations(3, GOLD, logits)
    with pytest.warns(UserWarning, match="at 100% of the positions"):
        OneToken()(policy.at(rollouts, torch.arange(3)), rollouts, torch.arange(3))


def test_nothing_to_learn_from_is_a_loss_of_nothing():
    rollouts = chains([2])
    none = torch.empty(0, dtype=torch.long)
    for estimator in ("sample", "exact"):
        loss, readings = OneToken(estimator=estimator)(
            ToyPolicy.random(rollouts).at(rollouts, none), rollouts, none
        )
        assert loss.shape == (0,) and all(reading.shape == (0,) for reading in readings.values())
