"""`oneloop recipes` and `oneloop copy`: what ships is listed, and handed out without overwriting anything."""

from oneloop.cli.recipes import about
from oneloop.recipe.needs import NEEDS
from oneloop.recipe.recipe import load_recipe
from oneloop.recipe.text import shipped


def test_every_recipe_has_a_sentence(oneloop):
    code, out, _ = oneloop("recipes")
    assert code == 0
    for name, path in shipped().items():
        said = about(path)
        assert f"\n{name} " in out and len(said) > 20 and said.endswith(".")


def test_the_sentence_is_the_first_of_the_comment(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("# One thing, 3.2 M large,\n# then another. And more.\n#   oneloop train a\nsteps: 1\n")
    assert about(path) == "One thing, 3.2 M large, then another."
    path.write_text("# No full stop\nsteps: 1\n# later\n")
    assert about(path) == "No full stop."


def test_a_copy_is_the_same_recipe(oneloop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = oneloop("copy", "sft", "deep/mine.yaml")
    assert code == 0 and "oneloop train deep/mine.yaml" in out
    mine, theirs = (load_recipe(source)[0] for source in (tmp_path / "deep" / "mine.yaml", "sft"))
    assert mine.name == "mine" and mine.phases.keys() == theirs.phases.keys()
    assert oneloop("copy", "sft")[0] == 0 and (tmp_path / "sft.yaml").exists()


def test_a_copy_says_how_to_run_it(oneloop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    oneloop("copy", "quickstart", "mine.yaml")
    text = (tmp_path / "mine.yaml").read_text()
    assert "#   oneloop train mine.yaml\n" in text and "oneloop train quickstart\n" not in text


def test_nothing_is_overwritten(oneloop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("steps: 3\n")
    code, _, err = oneloop("copy", "sft", "mine.yaml")
    assert code == 2 and "mine.yaml is there already and stays as it is; give another name" in err
    assert (tmp_path / "mine.yaml").read_text() == "steps: 3\n"


def test_an_unknown_name_is_met_with_the_nearest(oneloop):
    code, _, err = oneloop("copy", "quikstart")
    assert code == 2 and "no recipe that ships is called 'quikstart'; did you mean 'quickstart'?" in err


def test_what_a_recipe_needs_is_said(oneloop):
    assert oneloop("recipes")[1].count("Needs:") == len(NEEDS)
