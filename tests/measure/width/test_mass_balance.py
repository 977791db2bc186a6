"""mass_balance.py: worked examples, the identities of the decomposition, finite differences, bad input."""

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oneloop.measure.width.mass_balance import balance_of, mass_balance

SKEWED = torch.tensor([0.05, 0.55, 0.30, 0.10], dtype=torch.float64).log()
FIRST_TWO = torch.tensor([True, True, False, False])


def terms(made) -> list[float]:
    return [made.sampled_correct.item(), made.sampled_incorrect.item(), made.unsampled.item()]


def exact_change(logits, correct, step) -> float:
    return ((logits + step).softmax(-1) - logits.softmax(-1))[correct].sum().item()


def test_one_right_and_one_wrong_of_four_alike():
    logits = torch.zeros(4, dtype=torch.float64)
    made = mass_balance(logits, FIRST_TWO, torch.tensor([1, 0, 1, 0]))
    assert made.logit_step.tolist() == pytest.approx([0.125, 0, -0.125, 0], abs=1e-12)
    assert terms(made) == pytest.approx([0.015625, 0.015625, 0], abs=1e-12)
    assert made.total.item() == pytest.approx(0.03125) and made.unsampled_factor.item() == pytest.approx(0)
    assert exact_change(logits, FIRST_TWO, made.logit_step) == pytest.approx(0.0312094, abs=1e-7)


def test_a_correct_sample_may_lower_the_mass_of_correct_tokens():
    draws = torch.tensor([1, 0, 0, 0])
    made = mass_balance(SKEWED, FIRST_TWO, draws, reward_wrong=0.0, learning_rate=0.1)
    assert terms(made) == pytest.approx([9.5e-5, 0, -3.05e-4], abs=1e-9)
    assert made.unsampled_factor.item() == pytest.approx(0.05) and made.q_pos.item() == pytest.approx(0.6)
    assert made.logit_step.tolist() == pytest.approx([0.00475, -0.00275, -0.0015, -0.0005])
    assert exact_change(SKEWED, FIRST_TWO, made.logit_step) == pytest.approx(-2.0952e-4, abs=1e-8)
    logprob = mass_balance(SKEWED, FIRST_TWO, draws, reward_wrong=0.0, surrogate="logprob")
    assert terms(logprob) == pytest.approx([0.019, 0, -0.061])


def test_a_mean_baseline_removes_the_coupling_and_leaves_the_shrinkage():
    made = mass_balance(
        SKEWED,
        FIRST_TWO,
        torch.tensor([1, 0, 1, 0]),
        reward_wrong=0.0,
        learning_rate=2.0,  # eta / N = 1
        surrogate="logprob",
        baseline="mean",
    )
    assert made.logit_step.tolist() == pytest.approx([0.5, 0, -0.5, 0])
    assert made.per_token.tolist() == pytest.approx([0.03125, 0.06875, -0.1125, 0.0125])
    assert made.total.item() == pytest.approx(0.1) and made.unsampled.item() == 0


def test_a_prompt_of_all_wrong_or_all_right_tokens_has_nothing_to_move():
    for flag in (True, False):
        made = mass_balance(SKEWED, torch.full((4,), flag), torch.tensor([2, 1, 0, 0]))
        assert made.total.item() == pytest.approx(0, abs=1e-15) and math.isfinite(made.total)
    equal = mass_balance(SKEWED, torch.full((4,), True), torch.tensor([2, 1, 0, 0]), baseline="mean")
    assert equal.logit_step.eq(0).all()


def test_nothing_drawn_moves_nothing():
    made = mass_balance(SKEWED, FIRST_TWO, torch.zeros(4, dtype=torch.long), baseline="mean")
    assert made.logit_step.eq(0).all() and made.total.item() == 0


def test_a_token_that_cannot_occur_contributes_nothing():
    logits = torch.tensor([0.3, -math.inf, 1.0, 0.2])
    made = mass_balance(logits, FIRST_TWO, torch.tensor([1, 0, 1, 0]))
    smaller = mass_balance(logits[[0, 2, 3]], FIRST_TWO[[0, 2, 3]], torch.tensor([1, 1, 0]))
    assert terms(made) == pytest.approx(terms(smaller)) and made.per_token[1] == 0


def test_small_terms_of_a_large_vocabulary_are_summed_in_double_precision():
    size = 128_000
    made = mass_balance(torch.zeros(size), torch.arange(size) < 10_000, torch.arange(size) == 0)
    square, q = size**-2.0, 10_000 / size
    factor = 1 / size
    assert made.sampled_correct.item() == pytest.approx((1 - factor) * (1 - q) * square, rel=1e-9)
    coupling = factor * (q * (size - 10_000) - (1 - q) * 9_999) * square
    assert made.unsampled.item() == pytest.approx(coupling, rel=1e-6)


@st.composite
def cases(draw):
    """(logits [V], correct [V], counts [V], options) with at least one draw."""
    size = draw(st.integers(2, 7))
    number = st.floats(-3, 3)
    logits = torch.tensor(draw(st.lists(number, min_size=size, max_size=size)), dtype=torch.float64)
    correct = torch.tensor(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    counts = torch.tensor(draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)))
    counts[draw(st.integers(0, size - 1))] += 2
    options = {
        "reward_correct": draw(st.floats(0, 2)),
        "reward_wrong": draw(st.floats(-2, 0)),
        "multiplicity": draw(st.booleans()),
    }
    return logits, correct, counts, options


SURROGATES = st.sampled_from(["linear", "logprob"])
BASELINES = st.sampled_from([None, "mean"])


@given(cases(), SURROGATES, BASELINES)
def test_the_terms_are_the_change_a_tiny_step_makes(case, surrogate, baseline):
    logits, correct, counts, options = case
    made = mass_balance(logits, correct, counts, surrogate=surrogate, baseline=baseline, **options)
    assert made.per_token.sum().item() == pytest.approx(0, abs=1e-12)
    assert made.per_token[correct].sum().item() == pytest.approx(made.total.item(), abs=1e-12)
    h = 1e-4  # a central difference: its error is of third order
    there, back = (exact_change(logits, correct, sign * h * made.logit_step) for sign in (1, -1))
    assert (there - back) / (2 * h) == pytest.approx(made.total.item(), abs=1e-7)


@given(cases(), st.floats(-2, 2))
def test_theorem_1(case, shift):
    """The three terms as the paper writes them; its signs; what a shift of the logits does: nothing."""
    logits, correct, counts, options = case
    options = {**options, "multiplicity": False}
    made = mass_balance(logits, correct, counts, **options)
    p, drawn, n = logits.softmax(-1), counts > 0, counts.sum()
    right, wrong = options["reward_correct"], options["reward_wrong"]
    factor = right * p[drawn & correct].sum() + wrong * p[drawn & ~correct].sum()
    q, square = p[correct].sum(), p.square()
    expected = [
        (right - factor) * (1 - q) * square[drawn & correct].sum() / n,
        (factor - wrong) * q * square[drawn & ~correct].sum() / n,
        factor * (q * square[~drawn & ~correct].sum() - (1 - q) * square[~drawn & correct].sum()) / n,
    ]
    assert terms(made) == pytest.approx([x.item() for x in expected], abs=1e-12)
    assert wrong - 1e-12 <= made.unsampled_factor.item() <= right + 1e-12
    assert made.sampled_correct >= -1e-15 and made.sampled_incorrect >= -1e-15
    if drawn.all():
        assert made.unsampled == 0
    moved = mass_balance(logits + shift, correct, counts, **options)
    assert terms(moved) == pytest.approx(terms(made), abs=1e-12)


@given(cases())
def test_log_probabilities_with_a_mean_baseline_never_lose_correct_mass(case):
    """... to first order, for every number of rollouts: the coupling belongs to other surrogates."""
    logits, correct, counts, options = case
    made = mass_balance(logits, correct, counts, surrogate="logprob", baseline="mean", **options)
    assert made.unsampled.item() == pytest.approx(0, abs=1e-12)
    assert made.total.item() >= -1e-12


@given(cases(), st.floats(-1, 1))
def test_a_constant_reward_for_all_tokens_moves_nothing_for_sampled_ones_it_does(case, shift):
    logits, correct, counts, _ = case
    weights = torch.linspace(-1, 1, len(logits), dtype=torch.float64)
    before = balance_of(logits, correct, weights, counts).logit_step
    everywhere = balance_of(logits, correct, weights + shift, counts).logit_step
    torch.testing.assert_close(everywhere, before, rtol=0, atol=1e-12)
    sampled = balance_of(logits, correct, weights + shift * (counts > 0), counts).logit_step
    if abs(shift) > 0.1 and 0 < (counts > 0).sum() < len(counts):
        assert (sampled - before).abs().max() > 1e-6


@settings(max_examples=10)
@given(st.integers(1, 5))
def test_prompts_are_balanced_each_by_itself(prompts):
    draw = torch.Generator().manual_seed(prompts)
    logits = torch.randn(prompts, 6, generator=draw)
    correct, counts = (
        torch.rand(prompts, 6, generator=draw) < 0.5,
        torch.randint(4, (prompts, 6), generator=draw),
    )
    counts[:, 0] += 2
    together = mass_balance(logits, correct, counts, baseline="mean")
    for i in range(prompts):
        alone = mass_balance(logits[i], correct[i], counts[i], baseline="mean")
        assert together.total[i].item() == pytest.approx(alone.total.item(), abs=1e-12)
        torch.testing.assert_close(together.per_token[i], alone.per_token)


def test_bad_input_is_named():
    counts = torch.tensor([1, 0, 1, 0])
    spoiled = SKEWED.repeat(3, 1)
    spoiled[2, 1] = math.nan
    with pytest.raises(ValueError, match=r"logits: got nan at prompt \[2\], token 1"):
        mass_balance(spoiled, FIRST_TWO.repeat(3, 1), counts.repeat(3, 1))
    with pytest.raises(ValueError, match=r"counts: got -1 at prompt 0, token 0"):
        mass_balance(SKEWED, FIRST_TWO, -counts)
    with pytest.raises(ValueError, match=r"one shape .* got \(4,\), \(3,\) and \(4,\)"):
        mass_balance(SKEWED, FIRST_TWO[:3], counts)
    with pytest.raises(ValueError, match=r"correct must be bool, got torch.int64"):
        mass_balance(SKEWED, FIRST_TWO.long(), counts)
    with pytest.raises(ValueError, match=r"surrogate must be linear or logprob, got 'ppo'"):
        mass_balance(SKEWED, FIRST_TWO, counts, surrogate="ppo")


def test_it_warns_of_signs_and_of_single_rollouts():
    counts = torch.tensor([1, 0, 0, 0])
    with pytest.warns(UserWarning, match=r"reward_correct >= 0 >= reward_wrong, got 1.0 and 0.5"):
        mass_balance(SKEWED, FIRST_TWO, counts, reward_wrong=0.5)
    with pytest.warns(UserWarning, match="a single rollout is its own mean"):
        made = mass_balance(SKEWED, FIRST_TWO, counts, baseline="mean")
    assert made.logit_step.eq(0).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mass_balance(SKEWED, FIRST_TWO, 2 * counts, baseline="mean")
