"""Credit by token with the parts around it: filters that see flaws, a critic that fails, rollouts resumed."""

import pytest
import torch

from oneloop.core.storage import read_entry
from oneloop.credit.token_level import TokenLevel
from oneloop.judge.step_critic import CriticOutage
from oneloop.recipe.recipe import load_recipe
from oneloop.run.progress import Show
from oneloop.run.record import read_lines
from oneloop.run.run import Run
from oneloop.sample.plan.keep.keep_mixed import KeepMixed
from oneloop.select.mixed_groups import MixedGroups
from tests.credit.test_token_level import group_of
from tests.recipe.test_recipe import changed, faults_of

NAN = float("nan")
CRITIC = {"step_critic": {"path": "oneloop.sample.data.sum_chain.wrong_steps"}}


@pytest.mark.parametrize(
    ("outcomes", "flags", "by_reward", "by_token"),
    [
        ([1, 0], [[0], [0]], True, True),
        ([1, 1], [[0, 0], [0, 1]], False, True),
        ([0, 0], [[1, 0], [1, 1]], False, True),
        ([1, 1], [[0, 0], [0]], False, False),
        ([1, 1], [[1, 1], [1]], False, False),
        ([1, 1], [[NAN], [0]], False, False),
        ([1, 1], [[NAN], [1]], False, True),
        ([NAN, NAN], [[0], [1]], False, False),
        ([1, NAN], [[0, 0], [1]], False, False),
    ],
)
def test_filters_agree_with_credit_on_what_teaches(outcomes, flags, by_reward, by_token):
    group = group_of(outcomes, flags)
    assert KeepMixed().keeps(group) is by_reward and KeepMixed(by="token").keeps(group) is by_token
    credited = TokenLevel()(group).actions.advantage.nan_to_num(0)
    assert bool(credited.any()) == by_token
    judged = ~group.reward.isnan()[group.owner]
    for by, kept in (("reward", by_reward), ("token", by_token)):
        share = MixedGroups(by=by)(group).actions.share
        assert torch.equal(share > 0, judged & kept)


def test_a_mixed_group_beside_a_dead_one():
    rollouts = group_of([1, 1, 0, 0], [[0, 1], [0, 0], [0, 0], [0, 0]], group_size=2)
    assert MixedGroups(by="token")(rollouts).actions.share.tolist() == [1] * 4 + [0] * 4


def test_a_recipe_with_a_blind_filter_is_refused():
    changes = {"judge": ["verifier", CRITIC], "credit": ["token_level"]}
    faults = faults_of(changed(**{**changes, "select": ["mixed_groups"]}))
    assert (
        len(faults) == 1 and "select[0].mixed_groups: leaves out groups whose outcomes are equal" in faults[0]
    )
    assert "to credit[0].token_level those with a wrong step teach; write by: token" in faults[0]
    assert load_recipe(changed(**{**changes, "select": [{"mixed_groups": {"by": "token"}}]}))
    (fault,) = faults_of(changed(credit=["token_level"]))
    assert "reads 'actions.flaw', which nothing before it writes" in fault
    two = {"judge": ["verifier", CRITIC, {"step_critic": {**CRITIC["step_critic"], "name": "second"}}]}
    (fault,) = faults_of(changed(**{**changes, **two}))
    assert "judge[2].step_critic: overwrites 'actions.flaw' of judge[1]" in fault
    (fault,) = faults_of(changed(judge=[CRITIC]))
    assert "no judge has a weight" in fault


def recipe(critic, **phase):
    model = {"hidden_size": 16, "layers": 1, "heads": 2, "alphabet": "0123456789+=:\n", "max_positions": 48}
    return load_recipe(
        {
            "name": "chains",
            "policy": {"language": {"model": {"small_llama": model}, "max_new_tokens": 14}},
            "plan": {
                "data": {"sum_chain": {"length": 2}},
                "groups": 2,
                "in_flight": 4,
                "count": {"uniform": {"n": 4}},
                **phase,
            },
            "judge": [{"verifier": {"by": "exact", "extract": "([0-9])"}}, critic],
            "credit": ["token_level"],
            "objective": ["policy_gradient"],
            "learner": {"learning_rate": 0.003},
            "steps": 3,
        }
    )[0]


def trained(critic, folder, resume=False, **phase):
    run = Run(recipe(critic, **phase), folder, resume, Show(quiet=True))
    run.train()
    return [
        {name: value for name, value in line.items() if not name.endswith("time")}
        for line in read_lines(folder / "metrics.jsonl")
    ]


@pytest.mark.filterwarnings("ignore:step_critic")
def test_it_trains_with_rollouts_resumed_and_a_filter_and_writes_what_the_report_shows(tmp_path):
    import pyarrow.parquet

    lines = trained(CRITIC, tmp_path / "run", keep={"keep_mixed": {"by": "token"}})
    steps = [line for line in lines if line["kind"] == "step"]
    assert len(steps) == 3 and all(line["grad_norm"] > 0 for line in steps)
    assert all(line["judge/step_critic/critique_valid_rate"] == 1 for line in steps)
    assert all(line["judge/step_critic/cost"] == 0 and line["flaw_rate"] > 0 for line in steps)
    (table, *_) = [pyarrow.parquet.read_table(p) for p in sorted((tmp_path / "run/rollouts").glob("step-*"))]
    row = table.to_pylist()[0]
    assert (
        len(row["flaw"]) == len(row["solution_step"]) == len(row["token"])
        and row["critique"][0]["wrong"] == 1
    )


@pytest.mark.filterwarnings("ignore:step_critic")
def test_an_outage_stops_the_run_and_resuming_goes_on_with_the_same_rollouts(tmp_path, monkeypatch):
    from oneloop.judge import step_critic
    from oneloop.judge.critique.chat import ChatReply

    chat = {"step_critic": {"chat": {"base_url": "http://127.0.0.1:9/v1", "model": "m", "max_retries": 0}}}
    with pytest.raises(CriticOutage, match="none of .* critiques came back"):
        trained(chat, tmp_path / "run")
    entry = read_entry(next((tmp_path / "run/journal").rglob("ask-*.entry")))
    assert entry["judged"] is False

    class Answering:
        def ask(self, questions):
            return [ChatReply(text="Wrong steps: [0]") for _ in questions]

    monkeypatch.setattr(step_critic, "client", lambda server: Answering())
    lines = trained(chat, tmp_path / "run", resume=True)
    smooth = trained(chat, tmp_path / "other")
    assert lines == smooth
