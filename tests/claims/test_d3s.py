"""claims/d3s.py: the problems say what they should, accuracy is exact, one short run is reproducible."""

import pytest
import torch
from benchmarks.claims import d3s


def read(written):
    """(first, second, answer) of each problem."""
    texts = [row["prompt"] + row["answer"] for row in d3s.rows(written).rows]
    return [(int(t[:2]), int(t[3:5]), int(t[:5:-1])) for t in texts if t[2] == "+" and t[5] == "="]


def test_problems_are_sums_and_none_held_out_is_trained_on():
    seen, held = (read(d3s.problems(3, 3000, held_out)) for held_out in (False, True))
    assert len(seen) == len(held) == 3000
    assert all(a + b == answer for a, b, answer in seen + held)
    assert not set(seen) & set(held)
    one_digit = [(a < 10) + (b < 10) for a, b, _ in seen]  # each operand has one or two, independently
    for count, share in ((0, 0.25), (1, 0.5), (2, 0.25)):
        assert one_digit.count(count) / 3000 == pytest.approx(share, abs=0.04)
    assert d3s.rows(d3s.problems(3, 1)).rows[0].keys() == {"prompt", "answer"}


def test_sampled_accuracy_is_what_sampling_gives():
    policy = d3s.opened(0)
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.zero_()  # every token alike
    ids = d3s.tokens(policy, d3s.problems(0, 5))
    assert d3s.accuracy(policy, ids)["sampled"] == pytest.approx(len(policy.tokenizer) ** -3.0)
    assert ids[:, -3:].tolist() == [
        policy.tokenizer.convert_tokens_to_ids(list(row["answer"]))
        for row in d3s.rows(d3s.problems(0, 5)).rows
    ]


def test_one_run_is_reproducible_and_random_rollouts_have_as_many_tokens(monkeypatch):
    sizes = {"STEPS": 3, "TEACHING": 10, "PROMPTS": 4, "HELD_OUT": 50, "TAUGHT": 0.0}
    for name, value in sizes.items():
        monkeypatch.setattr(d3s, name, value)
    monkeypatch.setattr(d3s, "exact", lambda r: r.put(reward=(r.id % 3 == 0).double()))  # something to learn
    d3s.taught.cache_clear()
    rows = {name: d3s.train(name, 3e-4, 0) for name in ("D3S", "random, as many tokens", "GRPO")}
    assert rows["D3S"] == d3s.train("D3S", 3e-4, 0)
    work = {name: row["work"] for name, row in rows.items()}
    assert work["random, as many tokens"] == pytest.approx(work["D3S"], rel=0.03)
    shares = [(0.25 + 0.75 * done) * (0.3 + 0.7 * done) for done in (0, 1 / 3, 2 / 3)]
    assert work["D3S"] / work["GRPO"] == pytest.approx(sum(shares) / 3, rel=0.03)
    assert rows["GRPO"]["useful"] == 1
    assert d3s.before(0, lambda what: None)["start"].keys() == {"sampled", "greedy"}
    wanted = rows["D3S"]["sampled"] - rows["random, as many tokens"]["sampled"]
    assert d3s.CLAIM.headline(rows) == wanted
    d3s.taught.cache_clear()
