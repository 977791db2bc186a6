"""Protocols that a class may follow besides its own: each implemented here from its text alone, and used."""

from contextlib import contextmanager
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from oneloop.core import protocols
from oneloop.core.part import part
from oneloop.core.rooms import build
from oneloop.core.verdicts import JudgeError
from oneloop.recipe.reading import RecipeError
from oneloop.recipe.recipe import load_recipe
from oneloop.run.preflight import afforded, check_of
from oneloop.run.progress import Show
from oneloop.run.run import Run
from oneloop.sample.plan.dress.draw_budget import DrawBudget
from oneloop.update.objective.reward_backprop import RewardBackprop
from tests.core import test_protocols as own
from tests.core.test_protocols import Linear, TablePolicy
from tests.judge.judge_rollouts import rollouts

HERE = "tests.core.test_optional_protocols"
THERE = "tests.core.test_protocols"


def trained(raw, directory, resume=False):
    run = Run(load_recipe(raw)[0], directory, resume, Show(quiet=True))
    run.train()
    return run


# networks


class Rich(Linear):
    """A flow network that is everything at once: scheduled, contextual, timed, contrasting, adapted."""

    def __init__(self):
        super().__init__()
        self.matrix.requires_grad_(False)
        self.adapter = nn.Parameter(torch.zeros(64, 64))
        self.on, self.contexts = True, 0

    def context(self, told):
        self.contexts += 1
        return {"label": 2 * told["label"], "writer": told["label"]}

    def forward(self, latent, sigma, condition):
        bare = super().forward(latent, sigma, condition)
        return bare + (latent.flatten(1) @ self.adapter).view_as(latent) if self.on else bare

    def noise_levels(self, steps):
        return [1 - (i / steps) ** 2 for i in range(steps + 1)]

    def time_levels(self, share, first=0):
        return ((share * (10 - first)).floor() + first + 1) / 10

    def descent(self, sigma, steps):
        return torch.stack([sigma * (1 - i / steps) for i in range(steps + 1)])

    def views(self, condition):
        angle = condition["writer"][:, None] + self.adapter.sum() + torch.tensor([0.0, 0.1])
        return {"hand": torch.stack([angle.cos(), angle.sin()], -1)}, condition["writer"].long()

    @contextmanager
    def without_adapters(self):
        self.on = False
        yield
        self.on = True

    def save(self, folder):
        own.save_file({"adapter": self.adapter.detach().clone()}, folder / "adapter.safetensors")

    def load(self, folder):
        with torch.no_grad():
            self.adapter.copy_(own.load_file(folder / "adapter.safetensors")["adapter"])


@part()
class RichModel:
    """Flow model, outlined."""

    def build(self):
        return Rich()

    def outline(self):
        with torch.device("meta"):
            return Rich()


NETWORK = [
    protocols.Scheduled,
    protocols.Contextual,
    protocols.Timed,
    protocols.Contrasting,
    protocols.Adapted,
]


@pytest.mark.parametrize("protocol", NETWORK)
def test_what_a_network_may_be_besides_is_found_in_its_methods_alone(protocol):
    assert isinstance(Rich(), protocol) and not isinstance(Linear(), protocol)


WON = "win_rate/bright/all/mean"


def flow(**changes):
    policy = {"model": {f"{HERE}.RichModel": {}}, "steps": 4} | changes.pop("flow", {})
    return {
        "policy": {"flow": policy},
        "plan": {"data": {f"{HERE}.Pictures": {}}, "groups": 2, "count": {"uniform": {"n": 2}}},
        "judge": [{f"{HERE}.Bright": {}}],
        "credit": ["group_relative"],
        "objective": ["policy_gradient"],
        "learner": {"learning_rate": 0.001},
        "steps": 2,
    } | changes


@part()
class Pictures:
    """Data: pictures of one shade, the row's label."""

    def __len__(self):
        return 6

    def __getitem__(self, key):
        return {"prompt": str(key % 3), "label": key % 3, "image": np.full((8, 8), 80 * (key % 3), np.uint8)}


@part(reads=("output",), writes=("reward.bright", "error.bright"))
class Bright:
    """Judge and grader: the mean of a picture, as a probability."""

    name: ClassVar[str] = "bright"
    names: ClassVar[list[str]] = ["mean", "corner"]

    def __call__(self, rollouts):
        score = rollouts.output.flatten(1).mean(1).double()
        return rollouts.put({"reward.bright": score, "error.bright": [None] * len(rollouts)})

    def grade(self, images, rollouts, rows):
        p = torch.stack([images.flatten(1).mean(1), images[:, 0, 0, 0]], 1)
        return p, torch.tensor([True, False]).expand(len(images), 2)


@pytest.fixture(scope="module")
def rich():
    return load_recipe(flow())[0].policy


def test_a_network_with_levels_of_its_own_is_sampled_at_them_unless_the_recipe_sets_a_shift(rich):
    assert rich.open().sigmas == [1.0, 1 - 1 / 16, 1 - 1 / 4, 1 - 9 / 16, 0.0]
    shifted = load_recipe(flow(flow={"shift": 1.0}))[0].policy.open()
    assert shifted.sigmas == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0], abs=1e-12)


def test_a_model_that_can_be_outlined_is_not_built_for_its_memory(rich, monkeypatch):
    monkeypatch.setattr(RichModel, "build", lambda self: pytest.fail("the weights were made"))
    assert {weight.device.type for weight in rich.outline().network.parameters()} == {"meta"}


def test_with_adapters_the_reference_is_the_network_without_them_and_takes_no_memory(rich):
    policy = rich.open()
    policy.keep_reference()
    assert policy.reference.weights == {} and policy.reference.kept(policy.network)
    latent, sigma, told = torch.ones(1, 1, 8, 8), torch.ones(1), {"label": torch.zeros(1)}
    with torch.no_grad():
        policy.network.adapter.add_(torch.eye(64))
        # by hand: 0.1 x + (label + sigma) / 100, and x more with the adapter
        assert policy.velocity(latent, sigma, told).unique().tolist() == pytest.approx([1.11], abs=1e-6)
        with policy.as_reference():
            assert policy.velocity(latent, sigma, told).unique().tolist() == pytest.approx([0.11], abs=1e-6)
    assert policy.network.on


def test_a_context_is_made_once_for_all_noise_levels(rich):
    made = load_recipe(flow())[0]
    plan = made.phases["train"].plan
    plan.begin(7, 2)
    policy = rich.open()
    asked = plan.ask()
    policy.sample(asked)
    assert policy.network.contexts == 1 and policy.meter.plain == 4 * len(asked)
    found = policy.condition(asked, torch.arange(len(asked)))
    assert found["label"].tolist() == [2.0 * row["label"] for row in asked.example]


@pytest.mark.parametrize(
    ("objective", "reading"),
    [
        ({"flow_matching": {"sigma": "times"}}, None),
        ({"style_contrast": {}}, None),
        ({"reward_backprop": {"judge": {f"{HERE}.Bright": {}}, "begin": "data", "steps": 2}}, WON),
    ],
)
def test_objectives_train_a_network_of_ones_own_that_is_what_they_ask_for(tmp_path, objective, reading):
    raw = flow(objective=[objective], sample="demonstrations", steps=1)
    raw["plan"]["count"] = {"uniform": {"n": 1}}
    for name in ("judge", "credit"):
        del raw[name]
    (line,) = trained(raw, tmp_path / "run").history
    assert line["grad_norm"] > 0
    assert reading is None or 0 <= line[reading] <= 1


def test_a_judge_of_ones_own_is_back_propagated_and_one_without_a_grade_refused(tmp_path):
    raw = flow(objective=[{"reward_backprop": {"judge": {f"{HERE}.Bright": {}}}}])
    lines = trained(raw, tmp_path / "run").history
    assert all(line["grad_norm"] > 0 and 0 < line[WON] < 1 for line in lines)
    # what is graded is what was sampled, rendered once more in fp32
    assert lines[0][WON] == pytest.approx(lines[0]["rewards/bright/mean"], abs=1e-5), (
        "the corner is not asked"
    )
    with pytest.raises(ValueError, match="judge: FirstLetter cannot be differentiated: .* no `grade`"):
        RewardBackprop(judge=own.FirstLetter())


# parts of a plan


class Favourite:
    """Chances of which the first grows with every update; state, metrics and all."""

    def __init__(self, k):
        self.k, self.updates, self.seen = k, 0, 0

    @property
    def probabilities(self):
        first = 1 - 0.5 ** (self.updates + 1)
        return np.array([first] + [(1 - first) / (self.k - 1)] * (self.k - 1))

    def draw(self, seed, numbers):
        return np.asarray(numbers) % self.k

    def learn(self, place, judged):
        assert (judged.budget.numpy() == np.array([1, 2])[place]).all()
        self.seen += len(judged)

    def after_update(self, place, batch):
        assert len(place) == len(batch)
        self.updates += 1

    def metrics(self, name, labels):
        return {f"{name}/{label}": float(p) for label, p in zip(labels, self.probabilities, strict=True)}

    def state_dict(self):
        return {"updates": self.updates, "seen": self.seen}

    def load_state_dict(self, state):
        self.updates, self.seen = state["updates"], state["seen"]


@part()
class Favouring:
    """Draw."""

    learns: ClassVar[tuple[str, ...]] = ("reward",)

    def chances(self, choices):
        if len(choices) < 2:
            raise ValueError(f"favouring needs two choices, got {list(choices)}")
        return Favourite(len(choices))


@part(writes=("room",))
class Rooms:
    """Dress that measures prompts, listens, and has readings: everything it may be besides."""

    heard: ClassVar[list[object]] = []

    def __call__(self, rollouts):
        return rollouts.put(room=torch.tensor([self.left for _ in range(len(rollouts))]))

    def meet(self, policy):
        room = policy.prompt_room("a", {"prompt": "a"})
        object.__setattr__(self, "left", -1 if room is None else room.left)
        self.heard.append("met")

    def after_update(self, learner, batch):
        self.heard.append(sorted(set(batch.room.tolist())))

    def metrics(self):
        return {"rooms": float(self.left)}


@part(reads=("actions.advantage", "actions.token"))
class OnlyFirst:
    """Objective that teaches at the first action of each rollout alone."""

    seen: ClassVar[list[int]] = []

    def __call__(self, here, rollouts, actions):
        self.seen.extend(rollouts.depth[actions].tolist())
        return -here.logprob * rollouts.actions.advantage[actions], {}

    def teaches(self, rollouts):
        return rollouts.depth == 0


def language(**changes):
    return {
        "policy": {"language": {"model": {f"{THERE}.LittleLlama": {}}, "max_new_tokens": 4}},
        "plan": {
            "data": {f"{THERE}.Letters": {}},
            "groups": 2,
            "count": {f"{THERE}.Pairs": {}},
            "dress": [{f"{HERE}.Rooms": {}}],
        },
        "judge": [{f"{THERE}.FirstLetter": {}}],
        "credit": [{f"{THERE}.Plain": {}}],
        "objective": [{f"{HERE}.OnlyFirst": {}}],
        "learner": {"learning_rate": 0.02},
        "steps": 2,
        "save_every": 1,
    } | changes


def test_a_dress_part_measures_listens_and_is_read_and_an_objective_teaches_where_it_says(tmp_path):
    Rooms.heard.clear()
    OnlyFirst.seen.clear()
    run = trained(language(), tmp_path / "run")
    room = run.policy.prompt_room("a", {"prompt": "a"})
    assert Rooms.heard == ["met", [room.left], [room.left]]
    assert [line["rooms"] for line in run.history] == [float(room.left)] * 2
    assert OnlyFirst.seen == [0] * 8, "one action of each of 2 x 2 x 2 rollouts was forwarded"
    assert all(line["skipped_tokens"] > 0 for line in run.history)


def budgets():
    plan = language()["plan"] | {
        "dress": [{"draw_budget": {"choices": [1, 2], "draw": {f"{HERE}.Favouring": {}}}}]
    }
    return language(plan=plan, objective=[{f"{THERE}.Reinforce": {}}])


def test_chances_of_ones_own_draw_learn_are_read_and_come_back(tmp_path):
    run = trained(budgets(), tmp_path / "run")
    assert [line["draw/budget/1"] for line in run.history] == [0.75, 0.875]
    assert [line["draw/budget/2"] for line in run.history] == [0.25, 0.125]
    assert all(line["completions/max_length"] <= 2 for line in run.history)
    again = Run(load_recipe(budgets() | {"steps": 3})[0], tmp_path / "run", True, Show(quiet=True))
    again.train()
    assert again.history[-1]["draw/budget/1"] == 1 - 2**-4


def test_a_draw_that_refuses_its_choices_is_told_with_its_place():
    raw = budgets()
    raw["plan"]["dress"][0]["draw_budget"]["choices"] = [1]
    with pytest.raises(RecipeError, match=r"draw_budget.*favouring needs two choices, got \[1"):
        load_recipe(raw)


# policies


class Frugal:
    """An outline with subnets of 10 and 20 FLOPs a token."""

    def afford(self, flops):
        if flops < 10:
            raise ValueError(f"{flops} FLOPs buy none of the subnets: 10, 20")


def test_budgets_that_buy_no_subnet_are_refused_with_their_place():
    plan = SimpleNamespace(dress=(DrawBudget(column="flops", choices=(20, 5)),))
    recipe = SimpleNamespace(phases={"train": SimpleNamespace(plan=plan)}, evaluate=None)
    with pytest.raises(RecipeError, match=r"train.plan.dress\[0\].draw_budget: 5 FLOPs buy none .* 10, 20"):
        afforded(recipe, Frugal())
    afforded(recipe, own.TableOutline())


@part(writes=own.WRITES)
class Parted(own.Table):
    """A policy part whose policy can be taken apart."""

    def open(self, weights=None):
        return Strict()


class Strict(TablePolicy):
    """A policy that checks rows, and can be taken apart."""

    def apart(self):
        sampler = Strict()
        sampler.take([self.model.weight], self.version)
        return sampler

    def take(self, weights, version):
        with torch.no_grad():
            self.model.weight.copy_(weights[0])
        self.version = version

    def check_row(self, row, where, demonstrated):
        if row["prompt"] not in "abc" or (demonstrated and "completion" not in row):
            raise ValueError(f"{where}: no prompt of mine")


def test_a_policy_that_checks_rows_is_asked_and_another_is_not():
    check = check_of(Strict(), demonstrated=True)
    check({"prompt": "a", "completion": "b"}, "row 0")
    with pytest.raises(ValueError, match="row 1: no prompt of mine"):
        check({"prompt": "a"}, "row 1")
    check_of(Strict(), demonstrated=False)({"prompt": "a"}, "row 1")
    check_of(TablePolicy(), demonstrated=True)({"prompt": "anything"}, "row 2")


def ahead(name, batches):
    return language(
        policy={name: {}},
        objective=[{f"{THERE}.Reinforce": {}}],
        plan=language()["plan"] | {"dress": []},
        runtime={"ahead": batches},
        steps=3,
    )


def test_a_policy_that_can_be_taken_apart_samples_beside_its_update(tmp_path):
    run = trained(ahead(f"{HERE}.Parted", 1), tmp_path / "run")
    assert [line["staleness/max"] for line in run.history] == [0.0, 1.0, 1.0]
    assert run.policy.version == 3 and float(run.policy.model.weight.detach().abs().max()) > 0


def test_a_policy_that_cannot_is_refused_with_what_to_write(tmp_path):
    with pytest.raises(
        ValueError, match=r"runtime.ahead: TablePolicy cannot sample beside .*`apart`\); take 0"
    ):
        trained(ahead(f"{THERE}.Table", 1), tmp_path / "run")


# judges that compare


class Brighter(nn.Module):
    """A pair network: log-probabilities that the first image is the brighter one."""

    def answers(self, first, second, questions):
        gap = (first - second).flatten(1).mean(1)
        return torch.stack([gap, -gap], 1).log_softmax(1)


@part()
class BrighterModel:
    """Judge model."""

    def build(self):
        return Brighter()


@part()
class NoModel:
    """Judge model that compares nothing."""

    def build(self):
        return nn.Identity()


def pairs():
    shades = torch.tensor([0.75, 0.25])[:, None, None, None].expand(2, 1, 4, 4)
    there = torch.full((2, 1, 4, 4), 0.25)
    example = [{"prompt": "a", "task": "look"}] * 2
    table = rollouts(["", ""], example)
    return table.put(output=shades, reference_output=there, context=[[(0, "a")]] * 2)


def test_a_model_that_compares_images_judges_and_has_a_gradient():
    words = {"tasks": {"look": ["bright"]}, "questions": {"bright": "Is it brighter?"}}
    judge = build("judge", {"preference": {"model": {f"{HERE}.BrighterModel": {}}, "device": "cpu"} | words})
    # p = sigmoid(2 gap): 0.7311 for a gap of 1/2, 1/2 for none
    judged = judge(pairs())
    assert judged["reward.preference"].tolist() == pytest.approx([1 / (1 + np.exp(-1.0)), 0.5], abs=1e-6)
    images = pairs().output.clone().requires_grad_()
    p, asked = judge.grade(images, pairs(), torch.arange(2))
    p.sum().backward()
    assert asked.all() and p.shape == (2, 1)
    slope = 2 * p.detach() * (1 - p.detach()) / 16
    torch.testing.assert_close(images.grad[:, 0, 0, 0], slope[:, 0], atol=1e-7, rtol=1e-6)


def test_a_model_that_compares_nothing_is_refused():
    judge = build("judge", {"preference": {"model": {f"{HERE}.NoModel": {}}, "device": "cpu"}})
    with pytest.raises(JudgeError, match="judge 'preference': model: NoModel compares no images"):
        _ = judge.network
