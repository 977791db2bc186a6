"""What ranks say to one another, in two processes: agreement, errors of rank 0, memory that runs out."""

import dataclasses

import numpy as np
import pytest
import torch
from tests.support import ranks, training
from tests.support.rounding import room
from tests.update.small_policy import SmallPolicy, batch

from oneloop.core.meter import Meter
from oneloop.parallel.ranks.held import Whole, layout
from oneloop.parallel.ranks.join import joined
from oneloop.parallel.ranks.join import ranks as ranks_of
from oneloop.parallel.ranks.stored import read_parts, write_parts
from oneloop.parallel.ranks.world import Alone, Followed, RanksDiffer
from oneloop.run.progress import Show
from oneloop.run.run import Run
from oneloop.update.learner import Learner, Learning
from oneloop.update.not_finite import NotFinite
from oneloop.update.objective.supervised import Supervised

pytestmark = pytest.mark.slow


class Counting(SmallPolicy):
    """With the meter that ranks add up."""

    def __init__(self):
        super().__init__()
        self.meter = Meter()

    def at(self, rollouts, actions):
        here = super().at(rollouts, actions)
        self.meter.learned += len(actions)
        return here


@dataclasses.dataclass(frozen=True)
class Faulty:
    """A loss that is not a number at one action."""

    at: int

    def __call__(self, here, rollouts, actions):
        return torch.where(actions == self.at, torch.nan, -here.logprob), {}


def learned(world, fail=(), moved=lambda model: model):
    """What two batches leave, from starting weights that `moved` changed."""
    policy = Counting()
    moved(policy.model)
    policy.fail = list(fail)
    options = Learning(learning_rate=0.05, tokens_per_micro_batch=8, parallel="ddp")
    learner = Learner(policy, [Supervised()], options, 10, world)
    metrics = [learner(batch(policy, seed)) and learner.metrics for seed in (0, 1)]
    weights = torch.cat([weight.detach().flatten() for weight in learner.parameters])
    return weights.numpy(), metrics, learner.budget, policy.meter.learned, learner.notices


def talk(folder):
    """One rank's part; what it met, by name."""
    met = {}
    with joined() as world:
        met["first"] = world.first(lambda: f"of {world.rank}")
        try:
            world.first(lambda: 1 / 0)
        except (ZeroDivisionError, Followed) as error:
            met["error"] = repr(error)
        world.agree("nothing", "same")
        try:
            Run(training.recipe(seed=world.rank), folder / "differ", show=Show.silent(), world=world)
        except RanksDiffer as error:
            met["differ"] = str(error)
        met["learned"] = learned(world)
        # rank 1 alone runs out of memory in its second pass; a batch is cut into three or four
        met["halved"] = learned(world, fail=[2] if world.rank else [])
        try:
            policy = Counting()
            found = batch(policy)
            bad = int((found.actions.share > 0).nonzero()[-1])
            Learner(policy, [Faulty(bad)], Learning(parallel="ddp"), 1, world)(found)
        except NotFinite as error:
            met["finite"] = str(error)
        (folder / "file").touch(exist_ok=True)
        try:  # rank 1 cannot make a folder below a file
            where = folder / ("file" if world.rank else "folder") / "optimizer"
            write_parts(where, {f"of rank {world.rank}": torch.ones(2)}, world.group)
        except OSError as error:
            met["unwritten"] = str(error)
        write_parts(folder / "parts", {"alike": torch.arange(3.0)}, world.group)
        try:
            options = ranks.options("full") | {"runtime": {"ahead": 1}}
            Run(training.recipe(**options), folder / "ahead", show=Show.silent(), world=world).train()
        except ValueError as error:
            met["ahead"] = str(error)
    return met


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("talk")


@pytest.fixture(scope="module")
def met(folder):
    return ranks.together(2, talk, folder)


def test_rank_0_decides_and_its_errors_are_known(met):
    assert [each["first"] for each in met] == ["of 0", "of 0"]
    assert met[0]["error"] == "ZeroDivisionError('division by zero')"
    assert "rank 0 has stopped: ZeroDivisionError: division by zero" in met[1]["error"]


def test_ranks_that_differ_stop_with_what_both_say(met):
    assert met[0]["differ"] == met[1]["differ"]
    assert "the ranks differ in recipe" in met[0]["differ"] and "rank 1: " in met[0]["differ"]


@pytest.fixture(scope="module")
def gap():
    """How far two orders of the same sums may move a weight apart."""
    return room(lambda moved: torch.from_numpy(learned(Alone(), moved=moved)[0]))


def test_copies_learn_what_one_process_learns(met, gap):
    weights, metrics, _, counted, _ = learned(Alone())
    size = torch.tensor([[abs(value) or 1.0 for value in each.values()] for each in metrics])

    def shares(moved):
        found = learned(Alone(), moved=moved)[1]
        return torch.tensor([[*each.values()] for each in found], dtype=torch.float64) / size

    close = room(shares)  # relative: some metrics are numbers of tokens
    for found in met:
        np.testing.assert_allclose(found["learned"][0], weights, rtol=0, atol=gap)
        for theirs, ours in zip(found["learned"][1], metrics, strict=True):
            assert theirs == pytest.approx(ours, rel=close, abs=close)
        assert found["learned"][3] == counted
    assert (met[0]["learned"][0] == met[1]["learned"][0]).all()


def test_memory_that_runs_out_on_one_rank_halves_the_passes_of_all(met, gap):
    for found in met:
        weights, _, budget, _, notices = found["halved"]
        np.testing.assert_allclose(weights, found["learned"][0], rtol=0, atol=gap)
        assert budget == 4 and len(notices) == 1 and "out of memory" in notices[0]


def test_a_loss_that_is_not_finite_is_raised_by_every_rank(met):
    assert met[0]["finite"] == met[1]["finite"] and "Faulty gives a loss of nan" in met[0]["finite"]


def test_a_rank_that_cannot_write_its_part_is_told_of_by_all(met):
    assert met[0]["unwritten"] == met[1]["unwritten"]
    assert met[0]["unwritten"].startswith("rank 1 cannot write its part: ")


def test_what_is_alike_on_all_ranks_is_written_once(met, folder):
    assert len(list((folder / "parts").iterdir())) == 1
    read = {"alike": torch.zeros(3)}
    read_parts(folder / "parts", read)
    assert read["alike"].tolist() == [0, 1, 2]


def test_sampling_ahead_is_refused(met):
    said = "runtime.ahead: 1 needs one rank, but this run has 2; take 0"
    assert [each["ahead"] for each in met] == [said, said]


def test_what_cannot_be_laid_out_is_refused():
    policy = SmallPolicy()
    assert layout(policy, "fsdp2", 1) is None and layout(policy, None, 2) == "ddp"
    assert layout(policy, "plan", 1) is None
    for parallel in ("fsdp2", "plan"):
        with pytest.raises(
            ValueError, match=rf"learner\.parallel: {parallel} cannot cut a SmallPolicy; take ddp"
        ):
            layout(policy, parallel, 2)
    assert len(Whole(policy).parameters) == 2


@pytest.mark.parametrize(
    ("surroundings", "wanted"),
    [
        ({}, (0, 1)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, (0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "4", "MASTER_ADDR": "x", "MASTER_PORT": "1"}, (3, 4)),
    ],
)
def test_ranks_are_what_torchrun_says(surroundings, wanted, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in surroundings.items():
        monkeypatch.setenv(name, value)
    assert ranks_of() == wanted


def test_half_of_what_torchrun_says_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="WORLD_SIZE is 4, but RANK, MASTER_ADDR, MASTER_PORT is not set"):
        ranks_of()
    for name, value in {"RANK": "4", "MASTER_ADDR": "x", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="RANK=4 and WORLD_SIZE=4"):
        ranks_of()
