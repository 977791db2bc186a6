"""The flow policy: what shares what, ratios of exactly 1, gradients that do not depend on the cut, resumed
draws."""

import pytest
import torch

from oneloop.core.declared import declared
from oneloop.core.meter import Meter
from oneloop.credit.group_relative import GroupRelative
from oneloop.credit.tree import Tree
from oneloop.sample.plan.dress.fork import Fork
from oneloop.sample.plan.dress.window import Window
from oneloop.sample.policies.flow import Flow
from oneloop.sample.policies.trees.branches import Branches
from oneloop.update.averaging import weights
from oneloop.update.objective.policy_gradient import PolicyGradient
from tests.support.rounding import relative, reordered, room
from tests.support.trees import asked, policy, rewarded

FORK = Fork(steps=(0, 3), factor=2)


def gradient(flow, rollouts, pieces):
    flow.model.zero_grad()
    objective = PolicyGradient(clip_low=1e-3, clip_high=1e-3)
    weight = weights(rollouts, "action")
    for actions in pieces:
        loss, _ = objective(flow.at(rollouts, actions), rollouts, actions)
        (loss * weight[actions]).sum().backward()
    return torch.cat([p.grad.flatten() for p in flow.model.parameters() if p.grad is not None])


def rounded_apart(rollouts, **options):
    """How far two orders of the same sums may move a log-prob of `rollouts` apart."""

    def logprob(moved):
        flow = policy(**options)
        moved(flow.model)
        with torch.no_grad():
            return flow.at(rollouts, torch.arange(len(rollouts.actions))).logprob

    return room(logprob)


@pytest.mark.parametrize(
    ("splits", "factor", "forwards", "edges"),
    [
        ((0, 3, 6, 9), 2, 203, 202),
        ((0, 3, 6, 9), 3, 928, 927),
        ((0, 4, 8, 12), 2, 169, 168),
        ((0, 5, 10, 15), 2, 135, 134),
        ((9, 12, 15, 18), 2, 68, 67),
        ((0,), 16, 305, 304),
    ],
)
def test_counts_of_the_published_trees(splits, factor, forwards, edges):
    """Forwards as printed; an edge less than printed for every leaf, since the last call renders."""
    flow = policy(steps=20)
    rows = asked(factor ** len(splits), prompts=1, fork=Fork(steps=splits, factor=factor))
    finished, unfinished = flow.sample(rows)
    assert flow.meter.total == forwards and len(unfinished) == 0
    assert len(finished.actions) == edges
    assert finished.length.tolist() == [19] * len(rows)
    wanted = torch.ones(len(finished.actions), dtype=torch.bool)
    flow.meter = Meter()
    for actions in flow.batches(finished, wanted, 10**9):
        assert flow.at(finished, actions).logprob.isfinite().all()
    assert flow.meter.total == forwards - factor ** len(splits)  # siblings share it; no leaf is rendered


@pytest.mark.parametrize("fork", [None, FORK])
@pytest.mark.parametrize("noise", ["dance", "flow", "cps"])
@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
def test_before_the_first_update_every_ratio_is_exactly_one(fork, noise, stored):
    flow = policy(noise=noise, stored=stored)
    finished, _ = flow.sample(asked(4, fork=fork))
    assert finished.actions.latent.dtype == getattr(torch, stored)
    close = rounded_apart(finished, noise=noise, stored=stored)
    for budget in (10**9, 3):
        for actions in flow.batches(finished, finished.actions.share > 0, budget):
            gap = flow.at(finished, actions).logprob.detach() - finished.actions.logprob[actions]
            assert gap.abs().max() <= (0 if budget > 3 else close)


@pytest.mark.parametrize("hardware", [False, True])
def test_auto_is_bf16_only_where_the_hardware_prefers_it(hardware, monkeypatch):
    monkeypatch.setattr("oneloop.sample.policies.flow.prefers_bf16", lambda device: hardware)
    narrow = [
        policy(precision=precision).options.narrow for precision in ("float32", "bf16_autocast", "auto")
    ]
    assert narrow == [False, True, hardware]
    finished, _ = policy(precision="auto").sample(asked(2))
    wide, _ = policy().sample(asked(2))
    assert (
        torch.equal(finished.output, wide.output) != hardware
        and finished.actions.latent.dtype == torch.float32
    )


def test_latents_scored_before_they_were_rounded_would_not_have_a_ratio_of_one():
    flow = policy()
    finished, _ = flow.sample(asked(4))
    rounded = finished.put_actions(latent=finished.actions.latent.bfloat16())
    actions = torch.arange(len(finished.actions))
    gap = flow.at(rounded, actions).logprob.detach() - finished.actions.logprob
    assert gap.abs().max() > 10 * rounded_apart(finished)


@pytest.mark.parametrize("fork", [None, FORK])
def test_any_cut_gives_the_same_gradient(fork):
    flow = policy()
    rollouts = rewarded(flow.sample(asked(4, fork=fork))[0])
    everything = torch.arange(len(rollouts.actions))
    wanted = torch.ones(len(everything), dtype=torch.bool)
    expected = gradient(flow, rollouts, [everything])
    shuffled = everything[torch.randperm(len(everything), generator=torch.Generator().manual_seed(0))]
    for pieces in (
        flow.batches(rollouts, wanted, 10**9),
        flow.batches(rollouts, wanted, 2),
        shuffled.split(5),
    ):
        assert relative(gradient(flow, rollouts, pieces), expected) < reordered(flow.model)


def test_every_wanted_action_is_in_one_batch_with_its_siblings():
    flow = policy()
    rollouts, _ = flow.sample(asked(4, fork=FORK))
    wanted = torch.rand(len(rollouts.actions), generator=torch.Generator().manual_seed(1)) < 0.7
    pieces = list(flow.batches(rollouts, wanted, 2))
    assert torch.cat(pieces).sort().values.tolist() == wanted.nonzero().squeeze(1).tolist()
    place = {action: number for number, piece in enumerate(pieces) for action in piece.tolist()}
    parent = rollouts.actions.parent
    for a in place:
        for b in place:
            assert parent[a] != parent[b] or parent[a] < 0 or place[a] == place[b]


def test_one_fork_at_the_start_without_correlation_is_a_flat_group_from_one_start():
    """Images, latents, advantages and the gradient of the clipped loss: DanceGRPO's, from the tree."""
    flow, rows = policy(), asked(6)
    fork = Fork(steps=(0,), factor=6, correlation=0)(rows)
    tree, _ = flow.sample(fork)
    flat, _ = flow.sample(rows.put(tree=fork["tree"], branch=fork["branch"]))  # one start, no fork
    torch.testing.assert_close(tree.output, flat.output)
    for made in (tree, flat):
        assert made.length.tolist() == [7] * 12 and len(made.actions) == 84
    reward = torch.randn(12, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    branched = Tree(clip=None)(tree.put(reward=reward))
    grouped = GroupRelative()(flat.without("tree", "branch").put(reward=reward, tree=flat["tree"]))
    eps = torch.finfo(torch.float32).eps  # both are rounded once, from float64
    torch.testing.assert_close(branched.actions.advantage, grouped.actions.advantage, rtol=eps, atol=0)
    torch.testing.assert_close(branched.actions.latent, grouped.actions.latent)
    everything = [torch.arange(84)]
    expected = gradient(flow, grouped, everything)
    assert relative(gradient(flow, branched, everything), expected) < reordered(flow.model)


def test_siblings_noise_is_standard_and_as_correlated_as_asked():
    rows = asked(4096, prompts=1)
    for correlation in (0.0, 0.2, 0.5):
        fork = Fork(steps=(0,), factor=4096, correlation=correlation)
        branches = Branches(fork(rows))
        samples = torch.cat(
            [
                Branches(fork(rows).put_facts(seed=seed)).noise(
                    0, torch.arange(2), torch.zeros(2, dtype=torch.long), 2000
                )
                for seed in range(5)
            ],
            1,
        )
        assert samples.mean().abs() < 0.03 and abs(samples.std() - 1) < 0.03
        assert (samples[0] * samples[1]).mean() == pytest.approx(correlation, abs=0.04)
        many = branches.noise(0, torch.arange(4096), torch.zeros(4096, dtype=torch.long), 1)
        assert many.var() == pytest.approx(1 - correlation, abs=0.06)  # around what siblings share


def test_draws_do_not_depend_on_who_else_was_asked():
    flow, rows = policy(), asked(4, fork=FORK)
    together, _ = flow.sample(rows)
    alone, _ = flow.sample(rows.take(torch.arange(4, 8)))
    torch.testing.assert_close(together.take(torch.arange(4, 8)).output, alone.output)
    again, _ = flow.sample(rows)
    assert torch.equal(again.output, together.output)


def test_the_last_call_renders_and_a_budget_stops_early():
    flow = policy()
    budget = torch.tensor([0, 2, 7, -1])
    finished, _ = flow.sample(asked(4, prompts=1).put(budget=budget))
    assert finished.length.tolist() == [0, 2, 7, 7]
    assert finished.output.shape == (4, 1, 2, 2) and finished.output.min() >= 0 and finished.output.max() <= 1
    here = flow.at(finished, finished.last[1:2])
    assert here.output.shape == (1, 1, 2, 2) and here.output.requires_grad
    longer, _ = flow.sample(asked(4, prompts=1).put(budget=budget + 1))
    # what the action's own call predicts is what rendering there gives
    first = flow.at(longer, longer.last[:1])
    torch.testing.assert_close(first.output.detach(), finished.output[:1])


def test_outside_of_its_window_a_step_follows_the_ode_and_is_not_trained():
    flow = policy()
    rows = Window(size=2, first=3, every=0)(asked(4, fork=Fork(steps=(1, 5), factor=2)))
    finished, _ = flow.sample(rows)
    depth, actions = finished.depth, finished.actions
    drawn = torch.isin(depth, torch.tensor([1, 3, 4, 5]))
    assert torch.equal(actions.share > 0, drawn) and torch.equal(actions.logprob != 0, drawn)
    for piece in flow.batches(finished, torch.ones(len(depth), dtype=torch.bool), 10**9):
        here = flow.at(finished, piece)
        assert torch.equal(here.logprob != 0, drawn[piece])
        torch.testing.assert_close(here.logprob.detach(), actions.logprob[piece], rtol=0, atol=0)
        euler = here.mean[~drawn[piece]].detach()
        torch.testing.assert_close(actions.latent[piece][~drawn[piece]], euler, rtol=0, atol=0)


def test_without_noise_images_repeat_and_nothing_has_a_log_probability():
    flow = policy(noise="ode")
    assert "actions.logprob" not in declared(flow.options, "writes")
    finished, _ = flow.sample(asked(2))
    assert finished.actions.logprob.isnan().all() and finished.actions.share.eq(1).all()
    with pytest.raises(ValueError, match="siblings would be one image"):
        flow.sample(asked(4, fork=FORK))
    drawing = policy()
    with drawing.greedy():
        greedy, _ = drawing.sample(asked(2))
    torch.testing.assert_close(greedy.output, finished.output)
    assert drawing.draws


def test_reference_entropy_and_proximal():
    flow = policy()
    rollouts, _ = flow.sample(asked(2))
    with pytest.raises(ValueError, match="keeps no reference"):
        flow.annotate(rollouts, ["reference"])
    flow.keep_reference()
    with torch.no_grad():
        for weight in flow.model.parameters():
            weight.add_(0.01)
    written = flow.annotate(rollouts, ["entropy", "proximal", "reference"]).actions
    torch.testing.assert_close(written.reference, rollouts.actions.logprob, rtol=0, atol=0)
    assert (written.proximal - written.reference).abs().max() > 0
    std = torch.tensor([step.std for step in flow._drawn])[rollouts.depth]
    torch.testing.assert_close(written.entropy, torch.distributions.Normal(0, std).entropy())


def test_state_comes_back(tmp_path):
    flow = policy()
    flow.keep_reference()
    flow.updated()
    with torch.no_grad():
        next(iter(flow.model.parameters())).add_(1)
    flow.save(tmp_path)
    other = policy()
    other.restore(tmp_path, flow.state_dict())
    assert other.version == 1
    one, two = flow.sample(asked(2))[0], other.sample(asked(2))[0]
    assert torch.equal(one.output, two.output)
    assert torch.equal(
        flow.annotate(one, ["reference"]).actions.reference,
        other.annotate(two, ["reference"]).actions.reference,
    )


def test_demonstrations_are_images_of_the_data():
    flow = policy()
    rows = asked(1)
    pictures = [{"prompt": "a", "image": torch.full((1, 2, 2), 0.25).numpy()}] * 2
    made, none = flow.demonstrate(rows.put(example=pictures))
    assert made.actions.latent.eq(-0.5).all() and made.actions.version.eq(-1).all() and len(none) == 0
    with pytest.raises(ValueError, match="data row 0 has no 'image'"):
        flow.demonstrate(rows)
    large = [{"prompt": "a", "image": torch.zeros(1, 4, 4).numpy()}] * 2
    with pytest.raises(ValueError, match=r"picture of \(1, 4, 4\); the network takes \(1, 2, 2\)"):
        flow.demonstrate(rows.put(example=large))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"\[7\] of \[3, 7\] are past step 6"):
        policy().sample(asked(4, fork=Fork(steps=(3, 7))))
    with pytest.raises(ValueError, match="noise 'ode' has no level"):
        policy(noise="ode", level=0.3)
    with pytest.raises(ValueError, match="'small_llama'; it is a language model part"):
        Flow(model={"small_llama": {"hidden_size": 32, "layers": 1}}).open()
    flow = policy()
    finished, _ = flow.sample(asked(2))
    with pytest.raises(ValueError, match="starts at noise"):
        flow.sample(finished)
    with pytest.raises(TypeError, match="no logits"):
        assert flow.at(finished, torch.arange(1)).logits is None
    with pytest.raises(ValueError, match="up to 7 actions, but policy.flow.steps - 1 is 3"):
        policy(steps=4).at(finished, torch.arange(len(finished.actions)))
