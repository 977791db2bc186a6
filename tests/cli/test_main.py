"""The command line: every command helps, trains, resumes, measures, and says a user's faults in words."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from oneloop import __version__
from oneloop.cli import terminal, train
from oneloop.cli.main import COMMANDS, app, command, main, user_fault
from oneloop.core.destinations import Unwritable
from oneloop.recipe.reading import RecipeError
from oneloop.recipe.recipe import load_recipe
from oneloop.run.checkpoint import locate
from oneloop.run.record import read_lines
from tests.recipe.test_recipe import MINE

TINY = {
    "policy": {
        "language": {
            "model": {"small_llama": {"hidden_size": 32, "layers": 1, "heads": 2}},
            "max_new_tokens": 4,
            "device": "cpu",
        }
    },
    "plan": {"data": {"reasoning": {"size": 50}}, "groups": 2, "count": {"uniform": {"n": 2}}},
    "judge": [{"verifier": {"by": "exact"}}],
    "credit": ["group_relative"],
    "objective": ["policy_gradient"],
    "evaluate": {"data": {"reasoning": {"size": 50, "seed": 1}}, "size": 4},
    "steps": 2,
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder with tiny.yaml, which is the current one."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    monkeypatch.chdir(tmp_path)
    return tmp_path


# help


every_command = pytest.mark.parametrize("name", COMMANDS)


def test_help_lists_all_commands_without_the_heavy_libraries():
    code = (
        "import sys; from oneloop.cli.main import main\n"
        "try: main()\n"
        "finally: print([name for name in ('torch', 'numpy', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(re.search(rf"^. {name} ", done.stdout, re.MULTILINE) for name in COMMANDS), done.stdout


@every_command
def test_every_command_helps_with_one_example_of_itself(name):
    result = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert result.exit_code == 0
    assert re.search(rf"Example: oneloop {name}\b", result.output), result.output
    assert result.output.count("Example:") == 1


@every_command
def test_the_list_has_the_first_sentence_of_every_command(name):
    first = inspect.getdoc(command(name).callback).split("\n\n")[0]
    assert COMMANDS[name].says == " ".join(first.split())


@every_command
def test_options_are_explained_in_sentences(name):
    for parameter in command(name).params:
        assert parameter.help and re.match(r"[A-Zp].*\.$|path=", parameter.help), (
            parameter.name,
            parameter.help,
        )


@every_command
def test_the_examples_parse(name):
    found = command(name)
    words = re.search(r"Example: oneloop (.*)", found.callback.__doc__).group(1).split(" > ")[0]
    words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', words)]
    context = found.make_context(words[0], words[1:])
    assert set(context.params) == {parameter.name for parameter in context.command.params} - {"help"}


def test_version(oneloop):
    assert oneloop("--version") == (0, f"oneloop {__version__}\n", "")


def test_a_misspelt_command_is_met_with_the_nearest(oneloop):
    code, _, err = oneloop("trian")
    assert code == 2 and "Did you mean 'train'" in err


def test_completion_knows_the_commands():
    found = CliRunner().invoke(
        app,
        [],
        prog_name="oneloop",
        env={"_ONELOOP_COMPLETE": "complete_bash", "COMP_WORDS": "oneloop re", "COMP_CWORD": "1"},
    )
    assert found.output.split() == ["recipes", "report"]


# training


def test_train_resume_eval_sample_report(here, oneloop):
    code, out, err = oneloop(
        "train", "tiny.yaml", "--num-generations", "4", "learner.learning_rate=1e-3", "--seed", "3"
    )
    assert code == 0, err
    assert "accepted num_generations -> plan.count.uniform.n = 4" in out
    assert (
        "memory: about" in out
        and "run directory: runs/tiny" in out
        and "report: runs/tiny/report.html" in out
    )
    assert "2 steps" in out and "held-out accuracy" in out
    run = here / "runs" / "tiny"
    recipe, _ = load_recipe(run / "recipe.yaml")
    assert (recipe.seed, recipe.phases["train"].learner.learning_rate) == (3, 1e-3)
    assert recipe.phases["train"].plan.count.n == 4
    before = (run / "metrics.jsonl").read_text()

    code, out, _ = oneloop("train", "runs/tiny/recipe.yaml", "--resume")
    assert code == 0 and (run / "metrics.jsonl").read_text() == before

    code, out, _ = oneloop("eval", "runs/tiny", "--evaluate.size", "2")
    assert code == 0 and "checkpoint-2" in out and "greedy" in out
    code, out, _ = oneloop("eval", "runs/tiny/checkpoint-2", "tiny.yaml")
    after = [
        line
        for line in read_lines(run / "metrics.jsonl")
        if line["kind"] == "eval" and line["when"] == "after"
    ]
    assert code == 0 and f"{100 * after[0]['accuracy']:.1f} %" in out

    code, first, _ = oneloop(
        "sample", "runs/tiny", "--prompt", "1 + [2] =", "-n", "3", "--max-new-tokens", "5"
    )
    assert code == 0 and re.findall(r"^\d", first, re.MULTILINE)[:3] == ["1", "2", "3"]
    assert (
        oneloop("sample", "runs/tiny", "--prompt", "1 + [2] =", "-n", "3", "--max-new-tokens", "5")[1]
        == first
    )

    (run / "report.html").unlink()
    code, out, _ = oneloop("report", "runs/tiny")
    assert code == 0 and (run / "report.html").exists()


@pytest.mark.parametrize("name", ["elsewhere.Mine", "elsewhere.py:Mine"])
def test_a_credit_part_of_ones_own_trains(here, oneloop, monkeypatch, name):
    (here / "elsewhere.py").write_text(MINE)
    monkeypatch.syspath_prepend(here)
    code, _, err = oneloop(
        "train", "tiny.yaml", f"credit=[{{{name}: {{boost: 3}}}}]", "steps=1", "evaluate=null"
    )
    assert code == 0, err
    rollouts = pq.read_table(here / "runs" / "tiny" / "rollouts" / "step-000001.parquet").to_pylist()
    assert rollouts and all(set(row["advantage"]) == {3 * row["reward"]} for row in rollouts)


def test_a_dry_run_writes_the_recipe_and_trains_nothing(here, oneloop):
    code, out, _ = oneloop("train", "tiny.yaml", "--dry-run", "steps=9")
    assert code == 0 and "memory on cpu" in out and "weights" in out and "together" in out
    resolved = here / "runs" / "tiny.resolved.yaml"
    assert load_recipe(resolved)[0].phases["train"].steps == 9
    assert list((here / "runs").iterdir()) == [resolved]
    code, out, _ = oneloop("train", "tiny.yaml", "--dry-run", "--run", "there")
    assert code == 0 and [path.name for path in (here / "there").iterdir()] == ["resolved.yaml"]


def test_ctrl_c_says_how_to_go_on(here, oneloop, monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(train.Run, "train", interrupted)
    code, out, _ = oneloop("train", "tiny.yaml")
    assert code == 130 and "To go on: oneloop train runs/tiny/recipe.yaml --resume" in out


# faults


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "none.yaml"], "error: cannot read the recipe none.yaml: No such file or directory"),
        (["train", "tiny.yaml", "stepps=3", "plan.groups=0"], "error: 2 faults"),
        (["train", "tiny.yaml", "judge=[[bold]]"], "recipe.judge[0]: a judge part is written"),
        (
            ["train", "tiny.yaml", "--resume"],
            "error: no run of 'tiny' in runs/ to resume; give --run DIRECTORY",
        ),
        (
            ["train", "tiny.yaml", "policy.language.model=./nowhere"],
            "error: policy.language.model: cannot load",
        ),
        (
            ["train", "tiny.yaml", "policy.language.device=cuda:77", "--dry-run"],
            "error: policy.language.device: 'cuda:77' is not to be had here",
        ),
        (["train", "tiny.yaml", "policy.language.model=runs/none"], "there is no such folder"),
        (["sample", "runs/nothere", "--prompt", "x"], "error: runs/nothere: there is no such folder"),
        (["eval", "runs/nothere", "tiny.yaml"], "error: runs/nothere: there is no such folder"),
        (["train", "tiny.yaml", "report_to=mlflow"], "recipe.trackers"),
        (["train", "tiny.yaml", "use_peft=true"], "write policy.language.lora: {rank: 16}"),
        (["report", "nowhere"], "error: There is no run directory at nowhere."),
        (["eval", "somebody/model"], "error: say on what to measure"),
        (["eval", "nowhere", "tiny.yaml", "evaluate=null"], "error: recipe.evaluate: is required"),
        (
            ["sample", "nowhere", "--prompt", "x", "--temperature", "-1"],
            "error: sample.temperature: must be greater",
        ),
        (["compare", "tiny.yaml"], "error: compare takes at least two recipes, got 1"),
    ],
)
def test_a_users_fault_is_a_sentence_and_exit_code_2(here, oneloop, words, said):
    code, out, err = oneloop(*words)
    assert code == 2 and said in err and "Traceback" not in out + err
    assert not (here / "runs").exists() or not list((here / "runs").iterdir())


def test_a_run_is_never_overwritten(here, oneloop):
    (here / "taken").mkdir()
    (here / "taken" / "recipe.yaml").write_text("steps: 1\n")
    code, _, err = oneloop("train", "tiny.yaml", "--run", "taken")
    assert code == 2 and "taken holds a run already; go on with it (--resume" in err
    assert (here / "taken" / "recipe.yaml").read_text() == "steps: 1\n"


def test_a_bug_keeps_its_traceback(here, monkeypatch):
    def broken(*_):
        raise TypeError("a bug")

    monkeypatch.setattr("oneloop.recipe.recipe.load_recipe", broken)
    monkeypatch.setattr(sys, "argv", ["oneloop", "train", "tiny.yaml"])
    with pytest.raises(TypeError, match="a bug"):
        main()


def raised(make):
    with pytest.raises(BaseException) as caught:
        make()
    return caught.value


def test_what_counts_as_a_users_fault():
    assert user_fault(RecipeError(["one", "two"])) == ["one", "two"]
    assert user_fault(OSError(28, "No space left on device")) == ["No space left on device"]
    assert user_fault(
        raised(lambda: locate(str(Path(__file__).parents[2] / "none")) and load_recipe("no.yaml"))
    )
    assert user_fault(raised(lambda: int("x"))) == []  # a ValueError, but not of ours
    assert user_fault(raised(lambda: [][0])) == []
    assert user_fault(AssertionError("a programmer's")) == []


def test_eval_takes_any_task_data_and_judge(here, oneloop):
    assert oneloop("train", "tiny.yaml", "evaluate=null", "steps=1")[0] == 0
    model = "runs/tiny/checkpoint-1"
    words = ("--task", "chain_sum", "--size", "3", "-n", "4", "--max-new-tokens", "5", "--out", "found.json")
    code, out, err = oneloop("eval", model, *words)
    assert code == 0, err
    assert "pass@k" in out and "maj@k" in out and "written: found.json" in out
    found = json.loads((here / "found.json").read_text())
    assert [each["mode"] for each in found["measured"]] == ["greedy", "sampled"]
    sampled = found["measured"][1]
    assert (sampled["n"], sampled["samples"]) == (3, 12) and set(sampled["pass_at"]) == {"1", "2", "4"}

    (here / "mine.jsonl").write_text('{"question": "1+1=", "label": "2"}\n' * 2)
    (here / "mine.py").write_text(
        "def long(completions, **columns):\n    return [float(len(c)) for c in completions]\n"
    )
    keys = ("evaluate.data.hub.input_key=question", "evaluate.data.hub.label_key=label")
    code, out, err = oneloop("eval", model, *keys, "--data", "mine.jsonl", "--max-new-tokens", "3")
    assert code == 0 and "pass@k" in out, err
    judge = ("--judge", "mine.py:long", "--data", "mine.jsonl", "--max-new-tokens", "3")
    code, out, err = oneloop("eval", model, *keys, *judge)
    assert code == 0 and "pass@k" not in out, err
    code, _, err = oneloop("eval", model, "--task", "chain_sum", "--data", "mine.jsonl")
    assert code == 2 and "give --task or --data, got both 'chain_sum' and 'mine.jsonl'" in err
    code, _, err = oneloop("eval", model, "--task", "chain_sun")
    assert code == 2 and "chain_sum" in err


def test_schema_and_env_print_json(oneloop):
    assert json.loads(oneloop("schema")[1])["title"] == "oneloop recipe"
    assert "torch" in json.loads(oneloop("env")[1])
    assert terminal.console.width


# places that cannot be written


WRITES = {
    "train tiny.yaml --run": "folder",
    "compare tiny.yaml tiny.yaml --run": "folder",
    "eval nothing --task x --out": "file",
    "cut nothing -o": "folder",
    "fair table.csv --run": "folder",
    "fetch smollm2 --to": "folder",
    "fit reader -o": "folder",
    "mass-balance --out": "file",
    "rank table.csv --out": "file",
    "plan nothing --json": "file",
    "tokens nothing --out": "file",
    "token-sweep nothing --out": "file",
    "compress a.png --model nothing --out": "file",
    "decompress a.1dp --model nothing --out": "file",
    "hands nothing -o": "file",
    "write a --style a.png --model nothing -o": "file",
}


@pytest.mark.parametrize("words", WRITES)
def test_a_place_that_cannot_be_written_is_said_before_the_work(words, here):
    (here / "taken").write_text("")
    name, *rest = [*words.split(), "taken/x.html"]
    with pytest.raises(Unwritable) as raised:
        command(name).main(rest, standalone_mode=False)
    assert user_fault(raised.value) == ["cannot write to taken/x.html: taken is a file, not a folder"]


def test_an_error_of_the_system_is_a_sentence_without_its_number(here):
    (here / "taken").write_text("")
    with pytest.raises(OSError) as raised:
        (here / "taken" / ".x.json.12-0123abcd.writing").write_text("")
    assert user_fault(raised.value) == [
        f"cannot use {here}/taken/x.json: {here}/taken is a file, not a folder"
    ]
    with pytest.raises(OSError) as raised:
        (here / ("n" * 300)).read_text()
    (sentence,) = user_fault(raised.value)
    assert sentence.endswith(": file name too long") and "Errno" not in sentence
