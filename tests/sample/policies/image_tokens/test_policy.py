"""An image tokenizer as a policy: what it samples, that gradients do not depend on the cut, and resuming."""

import copy
import math
import shutil

import pytest
import torch

from oneloop.core.declared import declared
from oneloop.models.image_tokenizer.one_d_piece import OneDPiece
from oneloop.recipe.recipe import load_recipe
from oneloop.run.progress import Show
from oneloop.run.run import Run
from oneloop.sample.data.digits import Digits
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.dress.draw_budget import DrawBudget
from oneloop.sample.plan.plan import Plan
from oneloop.sample.policies.image_tokenizer import ImageTokenizer
from oneloop.update.averaging import weights
from oneloop.update.objective.reconstruction import Reconstruction
from tests.support.rounding import relative, reordered, room

MODEL = {"tokens": 4, "hidden_size": 16, "heads": 2, "layers": 1, "codebook_size": 32, "patch": 4}


def policy(**options):
    return ImageTokenizer(model=OneDPiece(**MODEL), **options).open()


def asked(count=12, least=1, data=None):
    plan = Plan(
        data=data or Digits(),
        groups=count,
        count=Uniform(n=1),
        dress=(DrawBudget(most=4, least=least, each="rollout"),),
    )
    plan.begin(3, 10)
    return plan.ask()


def test_a_sample_is_the_image_of_its_first_tokens():
    opened, rows = policy(images_per_call=5), asked()
    finished, unfinished = opened.sample(rows)
    assert len(unfinished) == 0 and finished.length.tolist() == rows.budget.tolist()
    assert len(set(rows.budget.tolist())) > 1
    for row, example in enumerate(rows.example):
        whole = opened.model.encode(torch.as_tensor(example["image"])[None])
        kept = whole[:, : int(rows.budget[row])]
        own = finished.actions.token[finished.owner == row]
        assert own.tolist() == kept[0].tolist()
        gap = room(lambda move, kept=kept: move(copy.deepcopy(opened.model)).decode(kept))
        torch.testing.assert_close(
            finished.output[row : row + 1], opened.model.decode(kept), atol=gap, rtol=0
        )
    written = {*finished, *(f"actions.{name}" for name in finished.actions)}
    assert set(declared(opened.options, "writes")) - {"actions.latent"} <= written
    everything, _ = opened.sample(rows.put(budget=torch.full((12,), -1)))
    assert everything.length.tolist() == [4] * 12


def gradient(opened, rollouts, pieces):
    opened.model.zero_grad()
    weight = weights(rollouts, "action")
    for actions in pieces:
        loss, _ = Reconstruction()(opened.at(rollouts, actions), rollouts, actions)
        (loss * weight[actions]).sum().backward()
    return torch.cat(
        [weight.grad.flatten() for weight in opened.model.parameters() if weight.grad is not None]
    )


def test_the_loss_is_the_error_of_the_kept_tokens_and_that_of_rounding_all():
    opened = policy()
    rollouts, _ = opened.demonstrate(asked())
    actions = torch.arange(len(rollouts.actions))
    assert rollouts.actions.version.tolist() == [-1] * 12 and torch.equal(
        rollouts.output, rollouts.actions.latent
    )
    loss, readings = Reconstruction(quantizer_weight=2)(opened.at(rollouts, actions), rollouts, actions)

    def both(moved):
        other = policy()
        moved(other.model)
        made, said = Reconstruction(quantizer_weight=2)(other.at(rollouts, actions), rollouts, actions)
        return torch.stack([made.detach(), said["nll"]])

    gap = room(both)
    for row in range(12):
        image, _, rounding = opened.model(rollouts.output[row : row + 1], int(rollouts.budget[row]))
        error = (image - rollouts.output[row]).square().mean()
        assert float(readings["nll"][row]) == pytest.approx(error.item(), abs=gap)
        assert float(loss[row]) == pytest.approx((error + 2 * rounding).item(), abs=gap)
    used = opened.model.encode(rollouts.output).flatten().bincount(minlength=32) / 48
    entropy = float(torch.special.entr(used.double()).sum())
    # an exponential is off by as much, relatively, as a sum of 32 terms, or a mean of 48, is absolutely
    close = 48 * torch.finfo(torch.float32).eps * (1 + entropy)
    perplexity = float(readings["perplexity"][0])
    assert perplexity == pytest.approx(math.exp(entropy), rel=close)
    assert float(readings["code_use"][0]) == pytest.approx(perplexity / 32, rel=close)
    here = opened.at(rollouts, actions)
    assert float(here.entropy.mean().exp()) == pytest.approx(perplexity, rel=2 * close)
    torch.testing.assert_close(here.logprob, -readings["nll"])


def test_gradients_do_not_depend_on_the_cut():
    opened = policy()
    rollouts, _ = opened.demonstrate(asked())
    everything = torch.ones(12, dtype=torch.bool)
    whole = gradient(opened, rollouts, opened.batches(rollouts, everything, 10**9))
    pieces = list(opened.batches(rollouts, everything, 3 * 2 * (1 + 4 + 4)))
    assert [len(piece) for piece in pieces] == [3, 3, 3, 3]
    assert relative(gradient(opened, rollouts, pieces), whole) < reordered(opened.model)
    assert [len(piece) for piece in opened.batches(rollouts, everything, 1)] == [1] * 12


def test_codes_that_no_image_uses_move_onto_images_of_the_latest_batches():
    opened = policy(revive_every=2)
    rollouts, _ = opened.demonstrate(asked())
    rollouts = rollouts.put_facts(seed=1, step=0, progress=0.0)
    unused = torch.ones(32, dtype=torch.bool)
    unused[opened.model.encode(rollouts.output).flatten()] = False
    before = opened.model.quantize.codebook.clone()
    for update in range(2):
        gradient(opened, rollouts, opened.batches(rollouts, torch.ones(12, dtype=torch.bool), 10**9))
        opened.updated()
        moved = (opened.model.quantize.codebook != before).any(1)
        assert torch.equal(moved, unused if update else torch.zeros_like(unused))
    vectors = torch.nn.functional.normalize(opened.model.vectors(rollouts.output).flatten(0, 1), dim=-1)
    nearest = (opened.model.quantize.codebook[unused] @ vectors.T).max(1).values
    close = 4 * vectors.shape[-1] * torch.finfo(torch.float32).eps  # of a product of two unit vectors
    torch.testing.assert_close(nearest, torch.ones_like(nearest), atol=close, rtol=0)
    after = opened.model.quantize.codebook.clone()
    late = rollouts.put_facts(progress=0.7)
    for _ in range(2):
        gradient(opened, late, opened.batches(late, torch.ones(12, dtype=torch.bool), 10**9))
        opened.updated()
    assert torch.equal(opened.model.quantize.codebook, after)


def test_rows_and_budgets_that_do_not_do():
    opened = policy()
    with pytest.raises(
        ValueError, match="data row 7 has no 'image' to turn into tokens; its columns: prompt"
    ):
        opened.check_row({"prompt": "a"}, "data row 7", False)
    rows = asked()
    with pytest.raises(ValueError, match="an image has 1 to 4 tokens, but rollouts are given a budget of 9"):
        opened.demonstrate(rows.put(budget=torch.full((12,), 9)))


RECIPE = {
    "policy": {"image_tokenizer": {"model": {"one_d_piece": MODEL}, "revive_every": 2}},
    "evaluate": {"data": {"digits": {"split": "test"}}, "judge": ["psnr"], "size": 16},
    "sample": "demonstrations",
    "steps": 8,
    "plan": {"data": "digits", "groups": 8, "dress": [{"draw_budget": {"most": 4, "each": "rollout"}}]},
    "objective": ["reconstruction"],
    "learner": {"learning_rate": 3e-3},
    "save_every": 5,
}


def test_a_run_that_is_resumed_is_the_same_to_the_bit(tmp_path):
    recipe = load_recipe(RECIPE)[0]
    whole = Run(recipe, tmp_path / "whole", show=Show(quiet=True))
    whole.train()
    assert whole.history[-1]["nll"] < whole.history[0]["nll"]
    for name in ("codes/quantizer_loss", "codes/perplexity", "codes/in_use", "entropy", "nll"):
        assert name in whole.history[-1]
    stopped = tmp_path / "stopped"
    shutil.copytree(tmp_path / "whole", stopped)
    shutil.rmtree(stopped / "checkpoint-8")
    again = Run(recipe, stopped, True, show=Show(quiet=True))
    again.train()
    states = [run.policy.model.state_dict() for run in (whole, again)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    model = OneDPiece(folder=str(tmp_path / "whole" / "checkpoint-8")).build()
    assert all(torch.equal(states[0][name], weight) for name, weight in model.state_dict().items())
