"""Columns and facts are declared once; who records, measures or shows them reads the declarations."""

import pytest
import torch

from oneloop.core.columns import FACTS, FAMILIES, Facts, MissingFact, declarations, family, recorded
from oneloop.core.rollouts import Actions, MissingColumn, Rollouts
from oneloop.report.rollout_rows import OPTIONAL, PER_STEP, PER_TOKEN
from oneloop.run.metrics import batch_metrics
from oneloop.run.record import rollout_rows
from tests.support.toy import chains


def test_what_the_report_shows_is_recorded():
    known = {**declarations(Rollouts), **declarations(Actions)}
    assert all(known[name].recorded for name in (*PER_TOKEN, *PER_STEP, *OPTIONAL))
    assert {"advantage", "share"} == set(PER_STEP) and "logprob" in PER_TOKEN and "tree" in OPTIONAL


def test_no_two_columns_are_one_metric():
    known = [*declarations(Rollouts).values(), *declarations(Actions).values()]
    metrics = [name for column in known for name in (column.mean, column.largest) if name]
    assert len(metrics) == len(set(metrics)) and "entropy" in metrics


def test_a_declared_column_reaches_record_and_metrics_without_another_list():
    batch = chains([1, 2]).put(status=["stop", "length"], text=["a", "bc"])
    batch = batch.put(context=[((0, "q"),)] * 2)
    batch = batch.put({"reward.mine": torch.tensor([1.0, 0.0]), "error.mine": [None, "why"]})
    batch = batch.put_actions(flaw=torch.tensor([0.0, 1.0, 0.5]), secret=torch.zeros(3))
    first, second = rollout_rows(batch, 1, "train", True, str)
    assert second["flaw"] == [1.0, 0.5] and first["reward.mine"] == 1.0 and second["error.mine"] == "why"
    assert "secret" not in first
    assert batch_metrics(batch.put_actions(flaw=torch.tensor([0.0, 1.0, 0.5])))["flaw_rate"] == 0.5


def test_known_columns_come_first_then_those_of_judges():
    written = iter(["reward.a", "text", "unheard", "id"])
    assert recorded(declarations(Rollouts), written, FAMILIES) == ["id", "text", "reward.a"]
    assert recorded(declarations(Actions), iter(["yes.a.b", "token"])) == ["token"], "readings stay out"
    assert family("won.a.b") is FAMILIES["won."] and family("unheard") is None


def test_reading_what_nobody_wrote_names_who_writes_it():
    with pytest.raises(MissingColumn, match="'entropy'.*the policy's annotate writes it"):
        _ = chains([1]).actions.entropy
    with pytest.raises(MissingColumn, match="'reward.truth'.*a judge: its verdict writes it"):
        chains([1])["reward.truth"]
    with pytest.raises(MissingFact, match="'progress' \\(the plan.*written so far: seed"):
        Facts(seed=3)["progress"]
    with pytest.raises(MissingFact, match="no known part writes it; written so far: none"):
        Facts()["mood"]
    assert Facts().get("progress") is None and set(FACTS) >= {"seed", "step", "progress"}
