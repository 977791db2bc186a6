"""`oneloop train` outside a terminal: lines, completions, quiet runs, and SIGTERM as Ctrl-C."""

import os
import re
import signal
import subprocess
import sys

import pytest
import yaml

from tests.cli.test_main import TINY


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder with tiny.yaml, which is the current one."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_steps_are_lines_with_completions_below(here, oneloop):
    code, out, err = oneloop("train", "tiny.yaml", "--log-completions", "2", "evaluate=null")
    assert code == 0, err
    lines = out.splitlines()
    first, last = (next(n for n, line in enumerate(lines) if f"train {done}/2 " in line) for done in (1, 2))
    assert re.fullmatch(
        r"train 2/2 reward \S+ len \S+ (ent \S+ )?no-signal \d+ % \S+ s/step ETA 0:00", lines[last]
    )
    for place in (first, last):
        below = lines[place + 1 : place + 3]
        assert all(re.fullmatch(r"  '.*' -> '.*'  reward \S+", line) for line in below), below


def test_verbose_lines_have_the_stages(here, oneloop):
    _, out, _ = oneloop("train", "tiny.yaml", "-v", "steps=3", "evaluate=null")
    lines = [line for line in out.splitlines() if " s/step " in line]
    assert len(lines) == 3 and all(
        f" {stage} " in lines[1] for stage in ("sample", "judge", "credit", "update")
    )


def test_a_quiet_run_prints_warnings_alone(here, oneloop):
    words = ("plan.groups=1", "steps=4", "evaluate=null")
    code, out, err = oneloop("train", "tiny.yaml", "-q", *words)
    assert code == 0 and out == "" and (here / "runs" / "tiny" / "report.html").exists()
    assert "quickstart" in oneloop("recipes")[1], "the next command is not quiet"
    assert err.startswith("warn ") and "warn 100% of the " in err and "\nnote " not in err, err


def test_sigterm_stops_the_run_as_ctrl_c_does(here):
    words = [sys.executable, "-m", "oneloop", "train", "tiny.yaml", "-v", "steps=100000", "save_every=2"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if "train 3/" in line:
                break
        running.send_signal(signal.SIGTERM)
        rest = running.stdout.read()
    assert running.returncode == 143, rest
    assert "stopped. To go on: oneloop train runs/tiny/recipe.yaml --resume" in rest
    assert "report: runs/tiny/report.html" in rest and (here / "runs" / "tiny" / "report.html").exists()
    stopped = re.search(r"stopping after step (\d+), which (checkpoint-\1) holds", rest)
    assert stopped and (here / "runs" / "tiny" / stopped[2]).exists(), rest


def test_a_finished_run_takes_more_steps(here, oneloop):
    assert oneloop("train", "tiny.yaml")[0] == 0
    code, out, err = oneloop("train", "tiny.yaml", "steps=3", "--resume")
    assert code == 0, err
    assert "changed phases.train.steps: 2 -> 3" in out and "3 steps" in out
    code, _, err = oneloop("train", "tiny.yaml", "steps=2", "--resume")
    assert (
        code == 2 and "phases.train.steps: must be at least 3, the steps that the run has made, got 2" in err
    )
