"""Partial rollouts on the real engine: when aborts fall changes nothing; versions and log-probs are true."""

import copy

import pytest
import torch

from oneloop.core import storage
from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts
from oneloop.models.language.small_llama import SmallLlama
from oneloop.sample.data.rows import Rows
from oneloop.sample.plan.count.uniform import Uniform
from oneloop.sample.plan.leftovers import Leftovers
from oneloop.sample.plan.plan import Plan
from oneloop.sample.policies.language import Language
from oneloop.sample.policies.tokens.policy import LanguagePolicy
from tests.sample.plan.sampler import same
from tests.support.rounding import moved_by, room

PROMPTS = Rows(rows=[{"prompt": f"{i}+{i}="} for i in range(40)])


@pytest.fixture(scope="module")
def opened() -> LanguagePolicy:
    model = SmallLlama(hidden_size=32, layers=2, heads=2, alphabet="0123456789+=", max_positions=64)
    return Language(model=model, max_new_tokens=40, temperature=1.3, device="cpu").open()


@pytest.fixture
def policy(opened):
    kept = copy.deepcopy(opened.model.state_dict())
    opened.version, opened.engine.slots, eos = 0, 256, opened.engine.eos
    yield opened
    opened.model.load_state_dict(kept)
    opened.engine.refresh()
    opened.engine.eos, opened.progress = eos, None


def plan(**options) -> Plan:
    made = Plan(**{"data": PROMPTS, "groups": 2, "count": Uniform(n=3), **options})
    made.begin(seed=7, steps=20)
    return made


class Learner:
    """Publishes weights: each update is another version, moved by `step`."""

    def __init__(self, policy: LanguagePolicy, step: float):
        self.policy, self.step = policy, step
        self.history = {policy.version: copy.deepcopy(policy.model.state_dict())}

    def update(self) -> None:
        draw = torch.Generator().manual_seed(self.policy.version)
        with torch.no_grad():
            for weight in self.policy.model.parameters():
                weight += self.step * torch.randn(weight.shape, generator=draw)
        self.policy.updated()
        self.history[self.policy.version] = copy.deepcopy(self.policy.model.state_dict())


def batches(made: Plan, learner: Learner, steps: int, counted: list[int] | None = None):
    policy = learner.policy
    for _ in range(steps):
        batch = None
        while batch is None:
            asked = made.ask()
            finished, unfinished = policy.sample(asked) if len(asked) else (asked, asked)
            if counted is not None:
                new = int(finished.length.sum() + unfinished.length.sum() - asked.length.sum())
                counted.append(new)
            made.tell(finished, unfinished)
            batch = made.batch()
        learner.update()
        made.after_update(learner, batch)
        yield batch


def by_id(tables: list[Rollouts]) -> dict[int, tuple[list[int], list[float]]]:
    found = {}
    for table in tables:
        for row, number in enumerate(table.id.tolist()):
            mine = table.owner == row
            found[number] = (table.actions.token[mine].tolist(), table.actions.logprob[mine].tolist())
    return found


def proximal(policy, batch, moved) -> torch.Tensor:
    """Log-probs [N] under weights that `moved` changed; they are put back."""
    with moved_by(moved, policy.model):
        return forwarded(policy, batch)


def forwarded(policy, batch) -> torch.Tensor:
    """Log-probs [N] from forward passes, none of them taken from the sampler."""
    version, policy.version = policy.version, -1
    written = policy.annotate(batch, ["proximal"]).actions.proximal
    policy.version = version
    return written


@pytest.mark.parametrize(("in_flight", "slots"), [(3, 256), (6, 5), (9, 256)])
def test_with_fixed_weights_the_schedule_of_aborts_changes_no_token(policy, in_flight, slots):
    whole = by_id(list(batches(plan(), Learner(policy, 0.0), 8)))
    policy.version, policy.engine.slots = 0, slots
    pieces = list(batches(plan(in_flight=in_flight), Learner(policy, 0.0), 6))
    resumed = by_id(pieces)
    assert any(len(piece.actions.version[piece.owner == 0].unique()) > 1 for piece in pieces)
    gap = room(lambda moved: proximal(policy, pieces[0], moved))
    for number in resumed.keys() & whole.keys():
        assert resumed[number][0] == whole[number][0], f"rollout {number}"
        assert resumed[number][1] == pytest.approx(whole[number][1], rel=0, abs=gap)
    assert len(resumed.keys() & whole.keys()) > 20


def test_every_log_prob_is_that_of_the_version_it_is_stamped_with(policy):
    learner = Learner(policy, 0.02)
    batch = Rollouts.join(list(batches(plan(in_flight=6), learner, 4))[1:])
    stamps = batch.actions.version.unique().tolist()
    assert len(stamps) >= 3
    for version in stamps:
        policy.model.load_state_dict(learner.history[version])
        again = forwarded(policy, batch)
        mine = batch.actions.version == version
        gap = room(lambda moved: proximal(policy, batch, moved))
        torch.testing.assert_close(again[mine], batch.actions.logprob[mine], rtol=0, atol=gap)
        assert not mine.all() and (again - batch.actions.logprob)[~mine].abs().max() > 1e-3


def test_only_rollouts_with_older_tokens_are_forwarded_for_what_weighs_them(policy):
    batch = Rollouts.join(list(batches(plan(in_flight=6), Learner(policy, 0.02), 3)))
    for version in batch.actions.version.unique().tolist():
        policy.version = version
        fresh = batch.actions.version == version
        older, before = batch.owner[~fresh].unique(), policy.meter.plain
        found = policy.annotate(batch, ["proximal"]).actions.proximal
        spent = policy.meter.plain - before
        again = forwarded(policy, batch.take(older))
        assert spent == policy.meter.plain - before - spent, "the others need no pass"
        assert torch.equal(found[fresh], batch.actions.logprob[fresh])
        mine = torch.isin(batch.owner, older)
        gap = room(lambda moved: proximal(policy, batch, moved))
        torch.testing.assert_close(found[mine & ~fresh], again[~fresh[mine]], rtol=0, atol=gap)
        assert bool(fresh.any()) and bool((~fresh).any())


@pytest.mark.parametrize(
    "leftovers", [Leftovers(), Leftovers(max_age=1, restarts=1)], ids=["resume", "bound"]
)
def test_a_checkpoint_in_the_middle_of_the_buffer_continues_to_the_bit(policy, tmp_path, leftovers):
    options = {"in_flight": 8, "leftovers": leftovers}
    made, learner = plan(**options), Learner(policy, 0.02)
    for _ in batches(made, learner, 3):
        pass
    assert made.held()["held/tokens"] > 0
    storage.write_folder(tmp_path / "at", lambda path: storage.write_state(path, made.state_dict()))
    rest = list(batches(made, learner, 3))

    policy.model.load_state_dict(learner.history[3])
    policy.engine.refresh()
    policy.version = 3
    again = plan(**options)
    again.load_state_dict(storage.read_state(tmp_path / "at"))
    resumed = list(batches(again, Learner(policy, 0.02), 3))
    assert all(same(one, other) for one, other in zip(rest, resumed, strict=True))
    assert made.held() == again.held()


@pytest.mark.parametrize("then", ["resume", "restart"])
def test_every_token_the_engine_made_is_trained_or_held_or_counted(policy, then):
    made, learner, sampled = plan(in_flight=5, leftovers=Leftovers(then=then)), Learner(policy, 0.02), []
    spent = 0
    for batch in batches(made, learner, 5, sampled):
        spent += len(batch.actions) + made.piles.discarded
        assert sum(sampled) == spent + made.held()["held/tokens"]
    assert made.piles.next_id == 3 * made.piles.next_group


@part()
class Lengths:
    """A budget for each data row."""

    lengths: tuple[int, ...]
    """By key."""

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        return rollouts.put(budget=torch.tensor([self.lengths[key] for key in rollouts.key.tolist()]))


def test_the_schedule_of_the_paper_on_the_engine(policy):
    policy.engine.eos = frozenset()  # nothing ends but by its budget
    made = plan(
        groups=2,
        in_flight=4,
        count=Uniform(n=1),
        dress=(Lengths(lengths=(3, 10, 4, 9, 2, 5, 1, 6)),),
        shuffle=False,
        data=Rows(rows=PROMPTS.rows[:8]),
    )
    steps = []

    def progress(tokens: int, finished: int) -> None:
        steps.append(tokens)

    policy.progress = progress
    learner, seen, ticks = Learner(policy, 0.02), [], []
    for version, batch in enumerate(batches(made, learner, 3)):
        old = int((batch.actions.version < version).sum())
        seen.append((batch.key.tolist(), old, len(batch.actions)))
        ticks.append(len(steps))
        steps.clear()
    assert seen == [([0, 2], 0, 7), ([3, 4], 4, 11), ([1, 5], 14, 15)]
    assert ticks == [4, 5, 1], "a resumed prefix is computed and continued in one step"
    assert batch.status == ["length", "length"], "whoever reaches the limit is judged, not resumed"


def test_interrupted_before_its_first_token_a_rollout_is_still_a_request(policy):
    policy.engine.slots = 2
    made = plan(groups=1, in_flight=4, count=Uniform(n=2))
    _, unfinished = policy.sample(made.ask())
    started = unfinished.length > 0
    assert not started.all()
    assert [status == "aborted" for status in unfinished.status] == started.tolist()
    assert {status for status, some in zip(unfinished.status, started, strict=True) if not some} == {
        "pending"
    }
