import json
import math

import pyarrow.parquet

from oneloop.recipe.recipe import load_recipe
from oneloop.run.logged import logged_columns, logged_means, with_all_columns
from oneloop.run.record import write_parquet
from oneloop.run.run import Run
from tests.judge.judge_rollouts import rollouts


def judged():
    extra = [
        {"size": 1, "right": True, "mix": 1, "big": 2**70},
        {"size": None, "mix": 0.5},
        {"mix": "x", "size": 4},
    ]
    return rollouts(["a", "b", "c"]).put(
        {"extra.f": extra, "extra.g": [{"size": math.nan}, {}, {"size": 2.0}]}
    )


def test_each_entry_is_a_column_of_one_type():
    found = logged_columns(judged())
    assert found["extra.f.size"] == [1, None, 4] and found["extra.f.right"] == [True, None, None]
    assert found["extra.f.mix"] == ["1", "0.5", "x"] and found["extra.f.big"] == [float(2**70), None, None]


def test_means_are_of_finite_numbers():
    assert logged_means(judged()) == {"f/size": 2.5, "f/right": 1.0, "f/big": float(2**70), "g/size": 2.0}


def test_half_a_surrogate_can_be_written(tmp_path):
    odd = rollouts(["a"]).put({"extra.f": [{"note": "\ud800"}]})
    write_parquet(tmp_path / "a.parquet", [{name: column[0] for name, column in logged_columns(odd).items()}])
    assert pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pylist() == [{"extra.f.note": "?"}]


def test_rows_of_several_tables_agree_on_columns_and_types():
    rows = [{"id": 1, "extra.f.a": 1}, {"id": 2, "extra.f.a": "x", "extra.f.b": True}]
    assert with_all_columns(rows) == [
        {"id": 1, "extra.f.a": "1", "extra.f.b": None},
        {"id": 2, "extra.f.a": "x", "extra.f.b": True},
    ]


def reward(completions, log_extra, log_metric, **columns):
    log_extra("size", [len(text) for text in completions])
    log_metric("threes", 3.0)
    return [float(len(text)) for text in completions]


def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    return {"score": 1.0, "pred": solution_str[:1], "acc": False}


def test_what_judges_log_reaches_metrics_and_parquet(tmp_path):
    recipe, _ = load_recipe(
        {
            "policy": {
                "language": {
                    "model": {"small_llama": {"hidden_size": 32, "layers": 1, "heads": 2}},
                    "max_new_tokens": 4,
                }
            },
            "plan": {"data": {"rows": {"rows": [{"prompt": "a", "answer": "b"}] * 2}}, "groups": 2},
            "judge": [{"function": {"path": reward}}, {"function": {"path": compute_score}}],
            "credit": ["group_relative"],
            "objective": ["policy_gradient"],
            "steps": 1,
        }
    )
    Run(recipe, tmp_path / "run").train()
    (step,) = (tmp_path / "run" / "rollouts").glob("step-*")
    rows = pyarrow.parquet.read_table(step).to_pylist()
    assert [row["extra.reward.size"] for row in rows] == [len(row["text"]) for row in rows]
    assert {row["extra.compute_score.acc"] for row in rows} == {False}
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    (line,) = [line for line in lines if line["kind"] == "step"]
    assert line["reward/threes"] == 3.0 and line["compute_score/acc"] == 0.0
    assert line["reward/size"] == sum(len(row["text"]) for row in rows) / len(rows)
