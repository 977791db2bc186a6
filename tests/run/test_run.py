"""A run: what it writes, in which order, and what of it adds up."""

import io
import json
import re
from collections import Counter
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import torch

from oneloop.core import storage
from oneloop.core.part import part
from oneloop.core.rollouts import Rollouts
from oneloop.judge.stage import JudgeOutage
from oneloop.recipe.recipe import load_recipe
from oneloop.run.active_phase import needs_reference
from oneloop.run.checkpoint import checkpoints
from oneloop.run.directories import claim_directory
from oneloop.run.log import Alarm
from oneloop.run.progress import Show
from oneloop.run.record import Metrics, prompt_text, read_lines, rollout_rows, write_parquet, write_rollouts
from oneloop.run.run import Run
from oneloop.run.samplers import on_ray
from oneloop.run.terminal import Terminal
from oneloop.update.not_finite import NotFinite
from tests.support.toy import chains
from tests.support.training import ROWS, gap_room, lines, raw_recipe, recipe, train


def rows_of(directory) -> list[dict]:
    return [
        row
        for path in sorted(directory.glob("rollouts/*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]


def changed(**options):
    """The recipe with some lines of its second phase replaced."""
    raw = raw_recipe()
    for path, value in options.items():
        level = raw["phases"]["reinforce"]
        *outer, last = path.split("__")
        for name in outer:
            level = level[name]
        level[last] = value
    return {"phases": raw["phases"]}


def test_the_order_of_lines(whole):
    seen = [
        (line["kind"], line["phase"], line.get("when"), line.get("mode"), line["step"])
        for line in lines(whole)
    ]
    evaluations = [entry[1:] for entry in seen if entry[0] == "eval"]
    moments = [("warm", "before", 0), ("warm", "during", 3), ("warm", "after", 4)]
    moments += [("reinforce", "during", 7), ("reinforce", "during", 10), ("reinforce", "after", 11)]
    assert evaluations == [
        (phase, when, mode, step) for phase, when, step in moments for mode in ("greedy", "sampled")
    ]
    steps = [entry[-1] for entry in seen if entry[0] == "step"]
    assert steps == list(range(1, 12))
    assert [line["phase_step"] for line in lines(whole) if line["kind"] == "step"] == [
        1,
        2,
        3,
        4,
        1,
        2,
        3,
        4,
        5,
        6,
        7,
    ]


def test_what_lies_in_the_directory(whole):
    assert [path.name for path in checkpoints(whole)] == ["checkpoint-10", "checkpoint-11"]
    assert json.loads((whole / "environment.json").read_text())["torch"] == torch.__version__
    assert not list(whole.rglob(".*")), "nothing half written is left"
    older = storage.read_state(whole / "checkpoint-10" / "loop")
    entries = storage.numbered(whole / "journal" / "reinforce", "ask-{:08d}.entry")
    assert list(entries) == list(range(older["asks"], older["asks"] + len(entries))), "what it does not hold"
    assert claim_directory(whole, recipe(), resume=True) == [], "nothing has changed"


def test_tokens_are_counted_once(whole):
    steps = [line for line in lines(whole) if line["kind"] == "step"]
    rows = rows_of(whole)
    warm = [row for row in rows if row["phase"] == "warm"]
    assert steps[3]["num_tokens"] == 0 and steps[3]["trained_tokens"] == sum(
        len(row["token"]) for row in warm
    )
    # counted with the step that learned from it or refused it; what is held at the end has no step
    tables = [pq.read_table(path).to_pylist() for path in sorted(whole.glob("rollouts/step-*.parquet"))]
    done = [row for table in tables for row in table if row["phase"] == "reinforce"]
    assert steps[-1]["num_tokens"] == sum(len(row["token"]) for row in done)
    assert sum(step.get("rollouts/judged", 0) for step in steps[4:]) == len(done)
    refused = {row["group"] for row in done if not row["trained"]}
    assert sum(step["groups/refused"] for step in steps[4:]) == len(refused)
    for group in refused:
        assert len({row["reward"] for row in done if row["group"] == group}) == 1


def test_parquet_says_what_was_learned_from_each_rollout(whole):
    rows = [row for row in rows_of(whole) if row["phase"] == "reinforce" and row["trained"]]
    assert len(rows) == 7 * 8
    for row in rows:
        columns = ("token", "piece", "logprob", "entropy", "advantage", "share", "ratio", "version")
        assert {len(row[name]) for name in columns} == {len(row["token"])}
        assert "".join(row["piece"]).removesuffix("<eos>") == row["text"] or "<" in "".join(row["piece"])
        assert row["reward"] == row["reward.likeness"] and row["error.likeness"] is None
        assert row["prompt"] == ROWS[row["key"]]["prompt"]
    for _, group in Counter((row["step"], row["group"]) for row in rows).items():
        assert group == 4
    by_group = {}
    for row in rows:
        by_group.setdefault((row["step"], row["group"]), []).append(row["advantage"][0])
    assert all(sum(advantages) == pytest.approx(0, abs=1e-5) for advantages in by_group.values())


def test_phases_share_the_policy_and_no_ids(whole):
    ids = {
        phase: {row["id"] for row in rows_of(whole) if row["phase"] == phase}
        for phase in ("warm", "reinforce")
    }
    assert ids["warm"] and ids["reinforce"] and not ids["warm"] & ids["reinforce"]
    versions = [
        version for row in rows_of(whole) if row["phase"] == "reinforce" for version in row["version"]
    ]
    assert min(versions) == 4, "the warm start counts as updates"


def test_every_issued_rollout_is_in_a_file_and_the_metrics_say_what_is_held(whole):
    rows = [row for row in rows_of(whole) if row["phase"] == "reinforce"]
    numbers = sorted(row["id"] for row in rows)
    assert numbers == list(range(numbers[0], numbers[0] + len(rows))), "none twice, none missing"
    held = pq.read_table(whole / "rollouts" / "held-reinforce.parquet").to_pylist()
    last = [line for line in lines(whole) if line["kind"] == "step"][-1]
    judged = [row for row in held if row["status"] not in ("pending", "aborted")]
    assert last["held/waiting"] + last["held/ready"] == len(judged)
    assert last["held/unfinished"] == sum(row["status"] == "aborted" for row in held)
    assert last["held/tokens"] == sum(len(row["token"]) for row in held)
    assert last["held/unfinished_tokens"] == sum(len(row["token"]) for row in held if row not in judged)
    sampled = sum(len(row["token"]) for row in rows)
    assert sampled == last["num_tokens"] + last["held/tokens"]
    assert any(line.get("staleness/carried_ratio", 0) > 0 for line in lines(whole))


def test_tokens_that_restarts_threw_away_are_counted(tmp_path):
    train(tmp_path, evaluate=None, **changed(plan__leftovers={"then": "restart"}))
    steps = [line for line in lines(tmp_path) if line.get("phase") == "reinforce" and "loss" in line]
    assert sum(step["leftovers/discarded_tokens"] for step in steps) > 0
    written = sum(len(row["token"]) for row in rows_of(tmp_path) if row["phase"] == "reinforce")
    thrown = sum(step["leftovers/discarded_tokens"] for step in steps)
    assert steps[-1]["num_tokens"] == written - steps[-1]["held/tokens"] + thrown


def test_the_log_prob_gap_is_zero_and_so_is_the_kl_to_the_warm_started_model(tmp_path):
    run = train(tmp_path, evaluate=None, **changed(learner__minibatches=1))
    steps = [line for line in lines(tmp_path) if line["kind"] == "step" and line["phase"] == "reinforce"]
    gaps = [step["sampling/logprob_gap_max"] for step in steps if "sampling/logprob_gap_max" in step]
    assert len(gaps) > 3, "some steps hold only rollouts of older weights"
    near = gap_room(run, "reinforce")
    assert max(gaps) <= near
    # the estimate of the KL, exp(gap) - 1 - gap, is about half the square of a gap, and two roundings of 1
    assert abs(steps[0]["kl"]) <= near**2 / 2 + 2**-23 < 1e-4 < steps[-1]["kl"]


def test_a_dry_source_ends_a_phase_and_every_judged_rollout_is_written(tmp_path):
    options = changed(plan__epochs=1, plan__data={"rows": {"rows": ROWS[:9]}}, steps=50)
    out = io.StringIO()
    Run(recipe(**options), tmp_path, show=Show(Terminal(file=out, width=200))).train()
    assert re.search(
        r"warn\s+reinforce ended after \d of 50 steps: its data is used up \(plan.epochs: 1\)", out.getvalue()
    )
    rows = [row for row in rows_of(tmp_path) if row["phase"] == "reinforce"]
    groups = Counter(row["group"] for row in rows)
    assert len(groups) == 9 and set(groups.values()) == {4}, "9 prompts, each with its four rollouts"
    assert len({row["id"] for row in rows}) == len(rows) == 36
    last = [line for line in lines(tmp_path) if line["kind"] == "step"][-1]
    assert last["phase_step"] < 50
    assert lines(tmp_path)[-2]["when"] == "after"


def test_a_phase_that_ends_at_a_saved_step_can_be_resumed(tmp_path):
    options = changed(
        plan__epochs=1, plan__data={"rows": {"rows": ROWS[:4]}}, plan__in_flight=2, plan__keep=None, steps=50
    )
    train(tmp_path, **options)  # 4 + 2 steps, saved every 2
    before = lines(tmp_path)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-4", "checkpoint-6"]
    train(tmp_path, resume=True, **options)
    assert lines(tmp_path) == before


@part(writes=("reward.same", "error.same"))
class SameToAll:
    """A judge that gives everybody 1."""

    name: str = "same"
    """Names the columns."""

    def __call__(self, rollouts: Rollouts) -> Rollouts:
        ones = torch.ones(len(rollouts), dtype=torch.float64)
        return rollouts.put({"reward.same": ones, "error.same": [None] * len(rollouts)})


def test_a_phase_in_which_every_group_is_refused_leaves_them_written_too(tmp_path):
    data = {"rows": {"rows": ROWS[:4]}}
    train(tmp_path, **changed(judge=[f"{__file__}:SameToAll"], plan__epochs=1, plan__data=data))
    rows = [row for row in rows_of(tmp_path) if row["phase"] == "reinforce"]
    assert (
        len(rows) == 16 and not any(row["trained"] for row in rows) and {row["step"] for row in rows} == {4}
    )
    assert lines(tmp_path)[-1]["phase"] == "reinforce" and lines(tmp_path)[-1]["step"] == 4


def test_a_batch_without_signal_changes_no_weight(tmp_path):
    objective = ["policy_gradient"]
    options = changed(
        judge=[f"{__file__}:SameToAll"], plan__keep=None, objective=objective, plan__in_flight=None
    )
    run = train(tmp_path, evaluate=None, stop_on_alarm=False, **options)
    kept = {path.name: (path / "model.safetensors").read_bytes() for path in checkpoints(tmp_path)}
    assert kept["checkpoint-10"] == kept["checkpoint-11"]
    steps = [line for line in lines(tmp_path) if line["kind"] == "step"]
    assert [step["grad_norm"] for step in steps[4:]] == [0.0] * 7
    assert steps[-1]["frac_reward_zero_std"] == 1
    assert any(line["kind"] == "doctor" for line in lines(tmp_path)), "and the doctor says so"
    assert len(run.findings) == len([line for line in lines(tmp_path) if line["kind"] == "doctor"])


@part(reads=("actions.advantage",))
class Breaks:
    """Fine until version 6, NaN from then on."""

    mean: str = "action"
    """As the learner wants it."""
    over: str = "kept"
    """As the learner wants it."""
    where: str = "kept"
    """As the learner wants it."""
    whole: bool = False
    """As the learner wants it."""

    def __call__(self, here, rollouts, actions):
        broken = bool((rollouts.actions.version >= 6).any())
        return here.logprob * (float("nan") if broken else 1.0), {}


def test_a_loss_that_is_not_finite_stops_the_run_with_a_name_and_it_stays_resumable(tmp_path):
    options = changed(objective=[f"{__file__}:Breaks"])
    for resume in (False, True):
        with pytest.raises(NotFinite, match=r"Breaks gives a loss of nan for rollout 1000000\d+ "):
            train(tmp_path, resume=resume, **options)
        assert checkpoints(tmp_path)


def test_an_alarm_stops_the_run_unless_told_otherwise(tmp_path, monkeypatch):
    from oneloop.report.doctor import Finding, Watch

    def alarmed(self, said):
        new = self._all[-1]["step"] == 3 and not list(said)
        return [Finding(level="alarm", name="gap", sentence="the gap is wide", size=2.0)] if new else []

    monkeypatch.setattr(Watch, "news", alarmed)
    with pytest.raises(Alarm, match="the gap is wide"):
        train(tmp_path / "stops")
    doctor = [line for line in lines(tmp_path / "stops") if line["kind"] == "doctor"]
    assert doctor[0]["sentence"] == "the gap is wide" and doctor[0]["step"] == 3
    with pytest.raises(Alarm):  # nothing has changed, so it is met again
        train(tmp_path / "stops", resume=True)
    train(tmp_path / "goes on", stop_on_alarm=False)
    assert len([line for line in lines(tmp_path / "goes on") if line["kind"] == "doctor"]) == 1


class Recorder(Show):
    def __init__(self):
        super().__init__(quiet=True)
        self.found = []

    def finding(self, level, sentence):
        self.found.append(sentence)


def test_a_phase_that_lowers_held_out_accuracy_is_said_once_also_across_a_resume(tmp_path, monkeypatch):
    drawn = iter([0.9] * 6 + [0.1] * 100)

    def measured(judged, mode, pattern):
        value = next(drawn)
        return {"mode": mode, "accuracy": value, "low": value - 0.05, "high": value + 0.05}

    monkeypatch.setattr("oneloop.run.evaluator.measure", measured)
    train(tmp_path)  # before, during and after the warm start nothing moves
    said = [line["name"] for line in lines(tmp_path) if line["kind"] == "doctor"]
    assert [name for name in said if name.startswith("held_out")] == ["held_out_greedy", "held_out_sampled"]
    before = lines(tmp_path)
    train(tmp_path, resume=True)
    assert lines(tmp_path)[: len(before)] == before


def test_running_out_of_memory_is_said(tmp_path, monkeypatch):
    from oneloop.sample.policies.tokens.policy import LanguagePolicy

    at, calls = LanguagePolicy.at, []

    def fails_once(self, rollouts, actions):
        calls.append(1)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return at(self, rollouts, actions)

    monkeypatch.setattr(LanguagePolicy, "at", fails_once)
    show = Recorder()
    Run(recipe(), tmp_path / "run", False, show).train()
    assert any("out of memory: micro-batches now forward 8 tokens" in sentence for sentence in show.found)


def test_who_needs_a_reference():
    phases = recipe().phases
    assert needs_reference(phases["reinforce"]) and not needs_reference(phases["warm"])
    assert not needs_reference(recipe(**changed(objective=["policy_gradient"])).phases["reinforce"])


# what is left behind


def test_metrics_forget_what_came_after_a_checkpoint(tmp_path):
    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.truncate(0)
    seen = []
    metrics.hooks.append(seen.append)
    for number in range(4):
        metrics.write(number=number, name="\u2028 is no line end")
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"number": 4, "na')  # killed
    assert (
        [line["number"] for line in read_lines(metrics.path)] == [0, 1, 2, 3] == [v["number"] for v in seen]
    )
    again = Metrics(metrics.path)
    again.truncate(2)
    again.write(number=9)
    assert [line["number"] for line in read_lines(metrics.path)] == [0, 1, 9] and again.lines == 3
    with pytest.raises(ValueError, match="has 3 lines, but the checkpoint was saved after 5"):
        again.truncate(5)
    assert read_lines(tmp_path / "nothing.jsonl") == []


def test_rows_for_parquet(tmp_path):
    rollouts = chains([2, 0, 1]).put(
        key=torch.arange(3), context=[((0, "a"),), ((0, [{"role": "user", "content": "b"}]),), ((0, 5),)]
    )
    rows = rollout_rows(rollouts, 7, "train", True, lambda tokens: f"<{tokens[0]}>")
    assert [row["prompt"] for row in rows] == ["a", "user: b", "5"]
    assert [len(row["token"]) for row in rows] == [2, 0, 1]
    assert rows[0]["piece"] == [f"<{token}>" for token in rows[0]["token"]]
    assert all(row["step"] == 7 and row["phase"] == "train" and row["trained"] for row in rows)
    empty = rollouts.take(torch.zeros(0, dtype=torch.long))
    assert rollout_rows(empty, 7, "train", True, str) == []
    write_rollouts(tmp_path / "r/x.parquet", [(empty, False)], 7, "train", str)
    assert not (tmp_path / "r").exists()
    write_rollouts(tmp_path / "r/x.parquet", [(rollouts, True), (rollouts, False)], 7, "train", str)
    assert pq.read_table(tmp_path / "r/x.parquet")["trained"].to_pylist() == [True] * 3 + [False] * 3
    assert prompt_text(((0, "x"), (2, "later"))) == "x"


def test_a_budget_of_sampled_tokens_ends_a_phase_after_the_step_that_spends_it(tmp_path):
    train(tmp_path / "whole", evaluate=None)
    steps = [line for line in lines(tmp_path / "whole") if line["kind"] == "step"]
    spent = [line["num_tokens"] for line in steps if line["phase"] == "reinforce"]
    raw = raw_recipe(evaluate=None)
    raw["phases"]["reinforce"]["budget"] = {"sampled_tokens": spent[2] - 1}
    Run(load_recipe(raw)[0], tmp_path / "cut", show=Show(quiet=True)).train()
    cut = [line for line in lines(tmp_path / "cut") if line["kind"] == "step"]
    assert [line["step"] for line in cut] == [line["step"] for line in steps[: len(cut)]]
    assert [line["num_tokens"] for line in cut if line["phase"] == "reinforce"] == spent[:3]


def test_text_that_no_encoding_has_is_recorded_and_cannot_act_on_a_terminal(tmp_path):
    def surly(completions, **_):
        raise ValueError("\x1b[2Jcleared \ud800 half\r")

    raw = raw_recipe()["phases"]["reinforce"]
    raw["judge"] = [{"function": {"path": surly, "name": "surly"}}]
    raw["plan"] = {"data": {"rows": {"rows": ROWS}}, "groups": 2, "count": {"uniform": {"n": 2}}}
    raw["steps"] = 2
    shown = io.StringIO()
    options = {"phases": {"reinforce": raw}, "evaluate": None}
    made = Run(recipe(**options), tmp_path / "run", False, Show(Terminal(file=shown, force_terminal=False)))
    with pytest.warns(JudgeOutage):
        made.train()
    wanted = r"ValueError: \x1b[2Jcleared ? half\r"
    assert {row["error.surly"].partition(" (")[0] for row in rows_of(tmp_path / "run")} == {wanted}
    assert r"\x1b[2Jcleared ?" in shown.getvalue() and "\x1b" not in shown.getvalue()


def test_half_surrogates_of_the_data_are_recorded_as_question_marks(tmp_path):
    write_parquet(tmp_path / "x.parquet", [{"prompt": "a\ud800", "piece": ["\udfff", "b"], "n": 1}])
    assert pq.read_table(tmp_path / "x.parquet").to_pylist() == [
        {"prompt": "a?", "piece": ["?", "b"], "n": 1}
    ]
    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.write(kind="doctor", sentence="a\ud800")
    assert read_lines(metrics.path) == [{"kind": "doctor", "sentence": "a?"}]


def test_a_damaged_line_of_metrics_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"kind": "step"}\n{"ki\xffnd": 1}\n{"half"')
    with pytest.raises(storage.Damaged, match=r"metrics.jsonl is damaged at line 2: no JSON object"):
        read_lines(path)


def test_what_is_written_is_read_with_its_checksums(tmp_path):
    path = tmp_path / "x.parquet"
    write_parquet(path, [{"text": "abc" * 50}])
    content = bytearray(path.read_bytes())
    content[30] ^= 1
    path.write_bytes(content)
    with pytest.raises(OSError, match="CRC|checksum|corrupt"):
        pq.read_table(path, page_checksum_verification=True)


def test_many_ranks_say_how_weights_lie_and_which_phases_are_planned(tmp_path):
    raw = raw_recipe()
    raw["phases"]["reinforce"]["learner"]["parallel"] = "plan"
    run, said = Run(load_recipe(raw)[0], tmp_path / "run", show=Show(quiet=True)), []
    run.show.says, run.world = said.append, SimpleNamespace(size=2)
    run._lay()
    assert said[0] == "2 ranks: fsdp2, plan" and "planning reinforce; a file" in said[1] and len(said) == 2
    run.recipe = load_recipe(raw | {"runtime": {"ahead": 1, "backend": "ray", "samplers": 2}})[0]
    assert on_ray(run.recipe, "warm") == ""
    assert on_ray(run.recipe, "reinforce").startswith(
        "Ray: starting 2 samplers and 1 judge on a cluster of this machine alone, until reinforce ends"
    )
    with pytest.raises(ValueError, match="runtime.ahead: 1 needs one rank, but this run has 2; take 0"):
        run._lay()
    run.writer.close()
