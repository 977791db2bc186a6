"""Names that can only mean a folder are not looked for on a hub."""

import pytest

from oneloop.core.named import NoSuchModel, model_named


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "mine" / "best").mkdir(parents=True)
    (tmp_path / "notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["gpt2", "Qwen/Qwen3-0.6B", "mine", "mine/best", "./mine"])
def test_folders_that_are_there_and_hub_names_pass(here, name):
    assert model_named(name) == name


@pytest.mark.parametrize(
    "name", ["runs/nothere", "runs/a/checkpoint-3", "./gpt2", "/gpt2", "~/gpt2", "a/b/c", "mine/besd"]
)
def test_what_can_only_be_a_folder_is_refused_where_there_is_none(here, name):
    with pytest.raises(NoSuchModel, match="there is no such folder"):
        model_named(name)


def test_the_nearest_folder_is_named(here):
    with pytest.raises(NoSuchModel, match="mine/besd: there is no such folder; did you mean 'mine/best'?"):
        model_named("mine/besd")


def test_the_home_folder_of_a_shell_is_written_out(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    with pytest.raises(NoSuchModel, match=f"~ is the home folder for a shell alone, write {here}/mine/best"):
        model_named("~/mine/best")


def test_what_a_shell_would_have_replaced_is_written_out(here, monkeypatch):
    monkeypatch.setenv("MODELS", str(here / "mine"))
    with pytest.raises(NoSuchModel, match=f"\\$ begins the name of a variable .* write {here}/mine/best"):
        model_named("$MODELS/best")
    (here / "$MODELS" / "best").mkdir(parents=True)
    assert model_named("$MODELS/best") == "$MODELS/best"
