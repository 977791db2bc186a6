"""A sample of benchmarks/reliability finds no fault: runs killed, stopped, damaged, doubled."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ["kills", "signals", "corruption", "two_processes", "recipes"]
WELL = {"runs", "ended first", "equal results", "damage said", "refused in words", "one after the other"}
WELL |= {"accepted", "ran to the end", "run refused in words", "run stopped in words"}
"""Counts that are no faults."""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """{script: its result}, all made by one process that imports everything once."""
    folder = tmp_path_factory.mktemp("results")
    words = ["--share", "0.008", "--recipes", "april", "--results", str(folder)]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.reliability", *words],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return {name: json.loads((folder / f"reliability_{name}.json").read_text()) for name in SCRIPTS}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tries"), zip(SCRIPTS, [4, 2, 2, 2, 40], strict=True))
def test_a_sample_finds_no_fault(results, name, tries):
    result = results[name]
    assert result["tries"] == tries and result["faults"] == []
    counts = {kind: number for kind, number in result.items() if isinstance(number, int)}
    bad = counts.keys() - WELL - {"tries", "seconds"}
    assert len(bad) >= 3 and not any(counts[kind] for kind in bad), counts
    assert set(result) >= {"hardware", "commits", "date", "seeds"}
