"""Text as trees: prefixes exist once, leaves are what chains would be, and tree credit runs on tokens."""

import pytest
import torch

from oneloop.core.rooms import build
from oneloop.credit.tree import Tree
from oneloop.recipe.recipe import load_recipe
from oneloop.run.progress import Show
from oneloop.run.run import Run
from oneloop.sample.plan.dress.fork import Fork
from oneloop.select.prune import Prune
from oneloop.update.averaging import weights
from oneloop.update.objective.policy_gradient import PolicyGradient
from tests.sample.policies.conftest import agree
from tests.support.rounding import moved_by, relative, reordered, room
from tests.support.training import gap_room, raw_recipe
from tests.support.trees import asked

MODEL = {"small_llama": {"hidden_size": 32, "layers": 1, "heads": 2, "alphabet": "abcd", "max_positions": 32}}
FORK = Fork(steps=(2, 5), factor=2)


@pytest.fixture(scope="module")
def policy():
    return build("policy", {"language": {"model": MODEL, "max_new_tokens": 9}}).open()


@pytest.fixture(scope="module")
def trees(policy):
    return policy.sample(asked(4, fork=FORK))[0]


def texts(rollouts):
    row, action = rollouts.paths
    return [rollouts.actions.token[action[row == i]].tolist() for i in range(len(rollouts))]


def test_leaves_share_their_beginning_and_part_at_forks(trees):
    written = texts(trees)
    for tree in (0, 4):
        leaves = [written[tree + i] for i in range(4)]
        assert all(leaf[:2] == leaves[0][:2] for leaf in leaves)
        assert leaves[0][:5] == leaves[1][:5] and leaves[2][:5] == leaves[3][:5]
    assert len({tuple(leaf) for leaf in written}) > 2
    assert len(trees.actions) < sum(len(leaf) for leaf in written)
    assert len(trees.text) == 8 and set(trees.status) <= {"stop", "length"}
    for leaf, status in zip(written, trees.status, strict=True):
        assert (len(leaf) == 9) >= (status == "length") and 1 <= len(leaf) <= 9


def test_the_first_leaf_is_the_rollout_without_a_fork(policy, trees):
    chains, _ = policy.sample(asked(4))
    for row in (0, 4):
        assert texts(chains)[row] == texts(trees)[row]


def test_what_was_stored_is_what_the_model_says(policy, trees):
    wanted = torch.ones(len(trees.actions), dtype=torch.bool)
    seen, found = [], torch.empty(len(trees.actions))
    for actions in policy.batches(trees, wanted, 64):
        found[actions] = policy.at(trees, actions).logprob.detach()
        seen += actions.tolist()
    agree(policy, trees, trees.actions.logprob, found)
    assert sorted(seen) == list(range(len(trees.actions)))


def test_tree_credit_and_pruning_train_each_shared_token_once(policy, trees):
    scored = trees.put(reward=torch.arange(8.0).double())
    credited = Prune()(Tree()(scored))
    depth, advantage = credited.depth, credited.actions.advantage
    tree = credited["tree"][credited.owner]
    eps = torch.finfo(torch.float32).eps
    for label in (0, 4):
        for step in range(9):
            level = advantage[(tree == label) & (depth == step)]
            assert abs(float(level.sum())) <= len(level) * eps * float(level.abs().sum())
    objective, total, ratio = PolicyGradient(), torch.zeros(len(advantage)), torch.zeros(len(advantage))
    weight = weights(credited, "action")
    for actions in policy.batches(credited, weight > 0, 64):
        here = policy.at(credited, actions)
        loss, _ = objective(here, credited, actions)
        total[actions] += loss.detach()
        ratio[actions] = (here.logprob.detach() - credited.actions.logprob[actions]).exp()
    kept = weight > 0
    # each once, at ratio 1 but for rounding, of which test_what_was_stored_is_what_the_model_says
    torch.testing.assert_close(total[kept], -(ratio * advantage)[kept], rtol=4 * eps, atol=0)


def test_a_run_of_trees_of_text_learns_and_records(tmp_path):
    raw = raw_recipe(evaluate=None, save_every=2)
    phase = raw["phases"].pop("reinforce")
    phase["plan"] = {
        "data": phase["plan"]["data"],
        "groups": 2,
        "count": {"uniform": {"n": 4}},
        "dress": [{"fork": {"steps": [0, 1], "factor": 2}}],
    }
    phase |= {"credit": ["tree"], "select": ["prune"], "objective": ["policy_gradient"], "steps": 3}
    raw["phases"]["branch"] = phase
    run = Run(load_recipe(raw)[0], tmp_path / "run", show=Show(quiet=True))
    run.train()
    assert run.history[-1]["step"] == 7 and any(line["grad_norm"] > 0 for line in run.history[-3:])
    assert run.history[-1]["sampling/logprob_gap_max"] <= gap_room(run, "branch")


def test_trees_start_from_nothing(policy, trees):
    with pytest.raises(ValueError, match="sampled in one go"):
        policy.sample(trees)


def test_what_leaves_share_is_forwarded_once_and_nothing_else_changes(policy, trees, monkeypatch):
    """Log-probs of tree rows equal those of leaves forwarded alone; inputs are the nodes of the tree."""
    everything = torch.arange(len(trees.actions))
    together = policy.at(trees, everything)
    rows = range(len(trees))
    inputs = {int(number) for row in rows for number in path_of(trees, row)[:-1]}
    prompts = int(sum(len(policy.prompt_ids(trees, row)) for row in (0, 4)))
    assert int((together.packed.above >= 0).sum()) + 2 == len(inputs) + prompts  # two rows begin somewhere
    monkeypatch.setattr(policy.forward, "width", 0)
    alone = policy.at(trees, everything)
    assert alone.packed.ids.numel() > together.packed.ids.numel()
    agree(policy, trees, together.logprob, alone.logprob)
    gap = room(lambda moved: moved_entropy(policy, trees, moved))
    torch.testing.assert_close(together.entropy, alone.entropy, rtol=0, atol=gap)


def test_gradients_of_packed_trees_are_those_of_leaves_alone(policy, trees, monkeypatch):
    everything, found = torch.arange(len(trees.actions)), []
    for width in (policy.forward.width, 0):
        monkeypatch.setattr(policy.forward, "width", width)
        policy.model.zero_grad()
        policy.at(trees, everything).logprob.sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in policy.model.parameters() if p.grad is not None]))
    assert relative(found[0], found[1]) < reordered(policy.model)


def moved_entropy(policy, trees, moved):
    """Entropy [N] under weights that `moved` changed; they are put back."""
    with moved_by(moved, policy.model):
        return policy.at(trees, torch.arange(len(trees.actions))).entropy.detach()


def path_of(rollouts, row):
    of, action = rollouts.paths
    return action[of == row].tolist()
