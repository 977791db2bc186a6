"""law.py: identities of the sampling law, and agreement with transformers' logits warpers."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from oneloop.engines.law import Law, draw

logits = arrays("float32", (3, 11), elements=st.floats(-20, 20, width=32)).map(torch.from_numpy)
laws = st.builds(
    Law,
    temperature=st.floats(0.05, 5),
    top_k=st.integers(0, 13),
    top_p=st.floats(0.01, 1),
    min_p=st.floats(0, 1),
)


@given(logits, laws)
def test_the_law_is_a_distribution_that_keeps_the_likeliest(scores, law):
    logprobs = law.logprobs(scores)
    torch.testing.assert_close(logprobs.exp().sum(-1), torch.ones(3))
    kept = logprobs > -math.inf
    ranked = torch.where(kept, scores, torch.inf).amin(-1, keepdim=True)
    assert kept.any(-1).all() and (scores[~kept] <= ranked.expand_as(scores)[~kept]).all()
    if not law.truncates:
        torch.testing.assert_close(logprobs, (scores / law.temperature).log_softmax(-1))


@given(logits, laws, st.floats(-9, 9))
def test_a_constant_added_to_the_logits_changes_nothing(scores, law, shift):
    before, after = law.logprobs(scores), law.logprobs(scores + shift)
    assume((before.isinf() == after.isinf()).all())  # rounding may move a token across a threshold
    # on each side a rounding of the sum, its division, the logarithm, the difference and each of 11 terms
    size = float(scores.abs().max() + abs(shift)) / law.temperature
    torch.testing.assert_close(before, after, atol=2 * 15 * 2**-24 * (size + 1), rtol=0)


distinct = st.lists(st.integers(-80, 80), min_size=11, max_size=11, unique=True)  # ties they break by index


@given(
    distinct.map(lambda tenths: torch.tensor([tenths]) / 10),
    st.floats(0.5, 5),
    st.integers(1, 11),
    st.floats(0.05, 0.99),
    st.floats(0.001, 0.99),
)
def test_truncation_equals_transformers_warpers(scores, temperature, top_k, top_p, min_p):
    warped = scores
    for warper in (
        TemperatureLogitsWarper(temperature),
        TopKLogitsWarper(top_k),
        TopPLogitsWarper(top_p),
        MinPLogitsWarper(min_p),
    ):
        warped = warper(None, warped)
    ours, theirs = Law(temperature, top_k, top_p, min_p).logprobs(scores), warped.log_softmax(-1)
    assume(
        (ours.isinf() == theirs.isinf()).all()
        or not _near_a_threshold(scores, temperature, top_k, top_p, min_p)
    )
    torch.testing.assert_close(ours, theirs)


def _near_a_threshold(scores, temperature, top_k, top_p, min_p):
    """Whether fp32 rounding alone may decide if some token is kept."""
    ordered = (scores.double() / temperature).softmax(-1).sort(-1, descending=True).values[:, :top_k]
    ordered = ordered / ordered.sum(-1, keepdim=True)
    mass = (ordered.cumsum(-1) - top_p).abs().min() < 1e-5
    return bool(mass or (ordered - min_p * ordered[:, :1]).abs().min() < 1e-5)


@given(logits)
def test_special_cases(scores):
    exact = scores.log_softmax(-1)
    torch.testing.assert_close(Law(0).logprobs(scores), exact)
    torch.testing.assert_close(Law(0, top_k=1).logprobs(scores), exact)
    torch.testing.assert_close(Law(top_k=11).logprobs(scores), exact)
    best = scores == scores.amax(-1, keepdim=True)
    torch.testing.assert_close(Law(top_k=1).logprobs(scores).exp(), best / best.sum(-1, keepdim=True))
    torch.testing.assert_close(Law(min_p=1).logprobs(scores).exp(), best / best.sum(-1, keepdim=True))


def test_worked_example():
    scores = torch.tensor([0.5, 0.25, 0.15, 0.1]).log()
    inf = -math.inf
    for law, expected in [
        (Law(top_k=2), [2 / 3, 1 / 3, 0, 0]),
        (Law(top_p=0.5), [1, 0, 0, 0]),
        (Law(top_p=0.51), [2 / 3, 1 / 3, 0, 0]),
        (Law(min_p=0.3), [5 / 9, 2.5 / 9, 1.5 / 9, 0]),
        (Law(0.5), [0.25 / 0.345, 0.0625 / 0.345, 0.0225 / 0.345, 0.01 / 0.345]),
        (Law(top_k=3, top_p=0.56), [0.5 / 0.75, 0.25 / 0.75, 0, 0]),  # top-p sees .556, .278, .167
    ]:
        assert law.logprobs(scores).tolist() == pytest.approx(
            [math.log(p) if p else inf for p in expected], abs=1e-6
        )


@given(laws, logits, st.floats(0, 1, exclude_max=True))
def test_a_draw_is_the_inverse_of_the_distribution(law, scores, u):
    logprobs = law.logprobs(scores)
    chosen = draw(logprobs, torch.full((3,), u, dtype=torch.float64))
    cumulative = logprobs.exp().cumsum(-1, dtype=torch.float64)
    for row, token in enumerate(chosen.tolist()):
        assert logprobs[row, token] > -math.inf
        target = u * cumulative[row, -1]
        assert cumulative[row, token] > target and (token == 0 or cumulative[row, token - 1] <= target)


def test_the_law_is_differentiable():
    scores = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    Law(0.7, top_k=3).logprobs(scores).amax(-1).sum().backward()
    assert torch.isfinite(scores.grad).all() and (scores.grad != 0).sum() == 6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": -1}, "law.temperature: got -1, must be a finite number >= 0"),
        ({"temperature": math.nan}, "law.temperature: got nan"),
        ({"temperature": math.inf}, "law.temperature: got inf"),
        ({"top_k": -1}, "law.top_k: got -1, must be an integer >= 0"),
        ({"top_k": 2.0}, "law.top_k: got 2.0"),
        ({"top_p": 0.0}, "law.top_p: got 0.0, must be a number > 0 and <= 1"),
        ({"top_p": 1.5}, "law.top_p: got 1.5"),
        ({"min_p": True}, "law.min_p: got True"),
        ({"min_p": "a"}, "law.min_p: got 'a'"),
    ],
)
def test_bad_laws_are_refused(options, words):
    with pytest.raises(ValueError, match=words.replace(".", r"\.")):
        Law(**options)
