"""token_simulator.py: its gradient is autograd's, its draws are the seed's, its start is the paper's."""

import pytest
import torch
from pydantic import ValidationError

from oneloop.measure.width.token_simulator import TokenSimulator

SMALL = {"vocabulary": 300, "correct": 40, "rollouts": 8}


def test_the_start_is_that_of_the_figure():
    (first,) = TokenSimulator().run(0)
    assert first["q_pos"] == pytest.approx(0.6300751, abs=1e-7)
    assert first == {**first, "step": 0, "improved": 0, "worst": 0, "worst_with_anchor": 0}


@pytest.mark.parametrize("surrogate", ["linear", "logprob"])
def test_the_gradient_is_that_of_the_loss(surrogate):
    simulator = TokenSimulator(**SMALL, surrogate=surrogate)
    logits = torch.linspace(3, -1, 300, dtype=torch.float64).requires_grad_()
    reward = torch.where(torch.arange(300) < 40, 1.0, -1.0).double()
    p = logits.softmax(0)
    ours = simulator._gradient(p.detach(), reward, torch.Generator().manual_seed(3))
    drawn = torch.multinomial(p.detach(), 8, replacement=True, generator=torch.Generator().manual_seed(3))
    earned = reward[drawn] - reward[drawn].mean()
    chosen = p[drawn] if surrogate == "linear" else p[drawn].log()
    (-(earned * chosen).mean()).backward()
    assert earned.abs().max() > 0
    torch.testing.assert_close(ours, logits.grad, rtol=1e-9, atol=1e-15)


def test_a_run_is_adamw_on_that_gradient():
    simulator = TokenSimulator(**SMALL)
    logits = torch.zeros(300, dtype=torch.float64)
    logits[:40], logits[0] = 3.0, 5.0
    logits.requires_grad_()
    reward = torch.where(torch.arange(300) < 40, 1.0, -1.0).double()
    optimizer = torch.optim.AdamW([logits], lr=1e-3, weight_decay=0.01, eps=1e-8)
    draw = torch.Generator().manual_seed(0)
    for _ in range(5):
        optimizer.zero_grad()
        p = logits.softmax(0)
        drawn = torch.multinomial(p.detach(), 8, replacement=True, generator=draw)
        (-((reward[drawn] - reward[drawn].mean()) * p[drawn]).mean()).backward()
        optimizer.step()
    last = simulator.run(5)[-1]
    assert last["q_pos"] == pytest.approx(logits.softmax(0)[:40].sum().item(), rel=1e-12)


def test_history():
    seen = []
    simulator = TokenSimulator(**SMALL)
    history = simulator.run(25, every=10, progress=seen.append)
    assert [record["step"] for record in history] == [0, 10, 20, 25] and seen == list(range(1, 26))
    assert history == simulator.run(25, every=10)
    assert history != TokenSimulator(**SMALL, seed=1).run(25, every=10)
    assert all(0 <= record["improved"] <= 1 for record in history)
    assert all(record["worst_with_anchor"] <= record["worst"] for record in history)


def test_more_rollouts_raise_more_tokens():
    ends = [
        TokenSimulator(vocabulary=2000, correct=150, rollouts=n, weight_decay=0).run(60)[-1]
        for n in (4, 4096)
    ]
    assert ends[0]["improved"] < 0.9 < ends[1]["improved"]
    assert ends[0]["worst"] < ends[1]["worst"]


def test_bad_input():
    with pytest.raises(ValidationError, match=r"correct must be below vocabulary \(40\), got 40"):
        TokenSimulator(vocabulary=40, correct=40)
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        TokenSimulator(rollouts=0)
