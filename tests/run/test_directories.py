"""Run directories are numbered, and the newest run of a name goes on."""

import os
from pathlib import Path

import pytest

from oneloop.parallel.ranks.world import Alone
from oneloop.run.checkpoint import locate
from oneloop.run.directories import free_directory, to_resume
from oneloop.run.progress import Show
from oneloop.run.terminal import Terminal
from oneloop.run.writer import Writer
from tests.support.training import recipe as tiny


def test_directories_are_numbered(tmp_path):
    assert free_directory("a", tmp_path) == tmp_path / "a"
    (tmp_path / "a").mkdir()
    (tmp_path / "a-2").mkdir()
    assert free_directory("a", tmp_path) == tmp_path / "a-3"


def test_the_newest_run_of_that_name_is_resumed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for age, (folder, name) in enumerate(
        [("tiny", "tiny"), ("tiny-2", "tiny"), ("tiny-large", "tiny-large")]
    ):
        path = tmp_path / "runs" / folder / "recipe.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(f"name: {name}\n")
        os.utime(path, (age, age))
    for name, content in (("tiny-3", b"{"), ("tiny-4", b"\xff"), ("tiny-5", b"[1]")):  # somebody's notes
        (tmp_path / "runs" / name).mkdir()
        (tmp_path / "runs" / name / "recipe.yaml").write_bytes(content)
    assert to_resume(Path("tiny.yaml"), tiny()) == Path("runs/tiny-2")
    (tmp_path / "runs" / "tiny" / "metrics.jsonl").touch()
    assert to_resume(Path("runs/tiny/recipe.yaml"), tiny()) == Path("runs/tiny")
    with pytest.raises(ValueError, match="has no checkpoint yet"):
        locate("runs/tiny")


def test_a_resume_that_finds_no_run_says_that_a_new_one_begins(tmp_path, capsys):
    writer = Writer(tiny(), tmp_path / "run", Show(Terminal(width=200)), Alone())
    try:
        assert writer.claim(resume=True) == []
    finally:
        writer.close()
    assert f"there is no run in {tmp_path / 'run'} to go on with: a new one begins" in capsys.readouterr().out
