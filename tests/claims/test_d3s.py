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


def test_one_seed_is_reproducible(monkeypatch):
    arms = {name: d3s.ARMS[name] for name in ("D3S", "D1S-Cross", "GRPO")}
    sizes = {"STEPS": 3, "TEACHING": 10, "PROMPTS": 4, "HELD_OUT": 50, "TAUGHT": 0.0, "ARMS": arms}
    for name, value in sizes.items():
        monkeypatch.setattr(d3s, name, value)
    monkeypatch.setattr(d3s, "exact", lambda r: r.put(reward=(r.id % 3 == 0).double()))  # something to learn
    rows = d3s.run(0, lambda what: None)
    assert rows == d3s.run(0, lambda what: None)
    spent = {name: row["tokens"] for name, row in rows.items() if "tokens" in row}
    assert list(spent) == [d3s.EARLY, *reversed(d3s.ARMS)]
    assert 0 < spent["D1S-Cross"] < spent["GRPO"]
    assert spent["D3S"] <= spent[d3s.EARLY] < spent["GRPO"]
    assert rows["GRPO"]["of GRPO's tokens"] == 1 and rows["GRPO"]["useful"] == 1
    assert d3s.headline(rows) == rows["D3S"]["sampled"] - rows["GRPO"]["sampled"]
    assert d3s.headline({**rows, "D3S": {"of GRPO's tokens": 0.51}}) == -1
