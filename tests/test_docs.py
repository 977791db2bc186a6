"""What README.md and docs/*.md say is so: their blocks run or load, their links and code names exist.

    ```python    runs, all blocks of a page in one namespace, in a folder that is empty at first
    ```yaml      loads as a recipe; one without `policy` is laid over `REST`
    ```console   options of every `oneloop` command exist; every `oneloop train` and `oneloop compare` names
                 recipes and overrides that load. After `<!-- executed -->` the commands are run, in order
                 with the Python blocks of the page and in the same folder
A block whose first line is `# file: NAME` is also written to NAME. `<!-- not run -->` on the line before a
block leaves it alone. Long runs do not belong in a block: these tests run them.
"""

import importlib
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from oneloop.cli.main import COMMANDS, command, main
from oneloop.cli.terminal import recipes_and_overrides
from oneloop.recipe import text as recipe_text
from oneloop.recipe.fields import hints, init_fields
from oneloop.recipe.recipe import load_recipe
from oneloop.run.compare import CompareOptions, load_all

ROOT = Path(__file__).parent.parent
PAGES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if path.is_file()]
BLOCK = re.compile(r"(?P<before>[^\n]*)\n```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<!\\)\[[^\]]*\]\((?P<to>[^)\s]+)\)")
NAME = re.compile(r"`(oneloop(?:\.\w+)+)`")
FILE = re.compile(r"# file: (?P<name>\S+)\n")
COMMAND = re.compile(r"\s*(?:\$ )?(?:\S*/)?oneloop (?P<words>.+)")
SHELLS = ("console", "sh", "bash")
NOT_RUN = "<!-- not run -->"
EXECUTED = "<!-- executed -->"
REST: dict[str, Any] = {
    "policy": {"language": {"model": {"small_llama": {}}, "max_new_tokens": 8}},
    "plan": {"data": {"reasoning": {}}},
    "judge": ["verifier"],
    "credit": ["group_relative"],
    "objective": ["policy_gradient"],
}
ON_DEMONSTRATIONS = {name: REST[name] for name in ("policy", "plan")}


@dataclass(frozen=True)
class Block:
    kind: str
    text: str
    run: bool
    executed: bool

    @property
    def file(self) -> str | None:
        found = FILE.match(self.text)
        return found["name"] if found else None


def blocks(page: Path) -> list[Block]:
    text = "\n" + page.read_text()
    return [
        Block(b["kind"], b["text"], NOT_RUN not in b["before"], EXECUTED in b["before"])
        for b in BLOCK.finditer(text)
    ]


def prose(page: Path) -> str:
    return BLOCK.sub("", "\n" + page.read_text())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def write_files(page: Path, folder: Path) -> None:
    for block in blocks(page):
        if block.file:
            (folder / block.file).write_text(block.text)


def commands(text: str) -> list[list[str]]:
    """The words of every oneloop command of a console block, `$ ` and continued lines allowed."""
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(found["words"], comments=True) for line in lines if (found := COMMAND.match(line))]


def taken(name: str, words: list[str]) -> list[str]:
    """The recipes and overrides of a command line, without the command's own options."""
    context = command(name).make_context(name, words)
    given = context.params
    recipes = [str(given["recipe"]), *(given["overrides"] or [])] if name == "train" else given["recipes"]
    return [*recipes, *context.args]


page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


@pytest.mark.slow
@page
def test_blocks_run_in_order(page, folder, capsys, monkeypatch):
    write_files(page, folder)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for number, block in enumerate(blocks(page)):
        if block.kind == "python" and block.run:
            exec(compile(block.text, f"{page.name}, block {number}", "exec"), namespace)
        for words in commands(block.text) if block.executed else ():
            monkeypatch.setattr(sys, "argv", ["oneloop", *words])
            with pytest.raises(SystemExit) as ended:
                main()
            assert not ended.value.code, f"oneloop {shlex.join(words)}: {capsys.readouterr().err}"


@page
def test_commands_and_options_exist(page):
    for block in blocks(page):
        for name, *words in commands(block.text) if block.run and block.kind in SHELLS else ():
            if not name.startswith("-"):
                assert name in COMMANDS, f"there is no command {name}"
                command(name).make_context(name, words)


@page
def test_yaml_blocks_load(page, folder):
    write_files(page, folder)
    for block in blocks(page):
        if block.kind == "yaml" and block.run:
            raw = recipe_text.parse(block.text)
            assert isinstance(raw, dict), block.text
            whole = "policy" in raw
            rest = ON_DEMONSTRATIONS if raw.get("sample") == "demonstrations" else REST
            recipe, _ = load_recipe(raw if whole else {**rest, **raw})
            assert recipe.phases


@page
def test_commands_name_recipes_that_load(page, folder):
    write_files(page, folder)
    for block in blocks(page):
        for name, *words in commands(block.text) if block.run and block.kind in SHELLS else []:
            if name not in ("train", "compare"):
                continue
            sources, overrides = recipes_and_overrides(taken(name, words))
            assert sources, f"{name} without a recipe: {words}"
            sources = [source for source in sources if source.parts[0] != "runs"]  # the reader's own
            if name == "compare":
                load_all(sources, overrides, CompareOptions(seeds=1))
            for source in sources:
                load_recipe(source, overrides)


@page
def test_links_lead_somewhere(page):
    for found in LINK.finditer(prose(page)):
        target, _, anchor = found["to"].partition("#")
        if "://" in target:
            continue
        there = page.parent / target if target else page
        assert there.exists(), f"{page.name}: {found['to']}"
        if anchor:
            assert anchor in anchors(there), f"{page.name}: {found['to']}; anchors: {sorted(anchors(there))}"


def anchors(path: Path) -> set[str]:
    """What the headings of a page are called in links."""
    heads = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@page
def test_code_names_exist(page):
    for name in NAME.findall(prose(page)):
        assert resolves(name), f"{page.name}: there is no {name}"


def resolves(name: str) -> Any:
    """The module, or what is in one; the field of a class counts though it has no default. None: no such."""
    pieces = name.split(".")
    for end in range(len(pieces), 0, -1):
        try:
            found = importlib.import_module(".".join(pieces[:end]))
        except ModuleNotFoundError:
            continue
        for piece in pieces[end:]:
            if not hasattr(found, piece):
                return piece if isinstance(found, type) and piece in hints(found) else None
            found = getattr(found, piece)
        return found
    return None


HEADING = re.compile(r"^## [^\n]*`(oneloop\.[\w.]+)`\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
ROW = re.compile(r"^\| `(\w+)` \| (?:`([^|]*)`|(required)) \|", re.MULTILINE)
REFERENCE = HEADING.findall((ROOT / "docs" / "recipes.md").read_text())


@pytest.mark.parametrize(("name", "section"), REFERENCE, ids=[name for name, _ in REFERENCE])
def test_the_reference_has_every_option_with_its_default(name, section):
    cls = resolves(name)
    said = {field: (default, required) for field, default, required in ROW.findall(section)}
    assert list(said) == init_fields(cls)
    needed = {field: given for field, given in NEEDED.items() if said.get(field, ("", ""))[1]}
    assert {field for field, (_, required) in said.items() if required} == set(needed)
    made = recipe_text.options(cls(**needed))
    given = {field: recipe_text.parse(default) for field, (default, required) in said.items() if not required}
    again = recipe_text.options(cls(**needed, **given))
    assert again == made


NEEDED: dict[str, Any] = {
    "policy": {"language": {"model": "some/model"}},
    "phases": {"train": {"plan": REST["plan"], "objective": ["supervised"]}},
    "plan": REST["plan"],
    "objective": ["supervised"],
    "data": {"reasoning": {}},
    "model": "some/model",
}
"""Values for the options that have no default."""


def test_the_reference_covers_all_sections():
    covered = {name.rpartition(".")[2] for name, _ in REFERENCE}
    assert covered == {
        *("Recipe", "Phase", "Plan", "Language", "Learning", "Evaluation", "JudgeLimits", "Runtime"),
    }


def test_what_is_generated_is_up_to_date(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / ".ci"))
    import method_index

    stale = [path.name for path, text in method_index.documents().items() if path.read_text() != text]
    assert not stale, f"run: python .ci/method_index.py (for {', '.join(stale)})"


def test_the_head_of_a_recipe_says_what_it_reaches_once(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / ".ci"))
    import method_index

    about = {"date": "2026-01-02", "hardware": "a CPU", "seconds": 12.4, "failed": ""}
    row = {**about, "of": "accuracy", "greedy": [0.2, 0.912], "sampled": [0.1, 0.3, 0.5]}
    plain = "# Adds.\n#   oneloop train adds\nseed: 0\n# a comment\n"
    said = method_index.with_reached(plain, row)
    lines = said.splitlines()
    assert lines[2].endswith("accuracy greedy 0.20 -> 0.91, sampled 0.10 -> 0.30 -> 0.50 (2026-01-02).")
    assert [*lines[:2], *lines[3:]] == plain.splitlines()
    assert method_index.with_reached(said, row) == said
    assert method_index.with_reached(said, None) == plain
    assert method_index.reached(about) == "nothing is held out"


def test_blocks_are_found():
    found = [block for path in PAGES for block in blocks(path)]
    assert {"python", "yaml", "console"} <= {block.kind for block in found}
    assert sum(block.kind == "python" and block.run for block in found) >= 4
    assert {"my_credit.py", "my_rewards.py", "mine.yaml"} <= {block.file for block in found}


ROOTS = (".ci", "benchmarks", "docs", "src", "tests")
FOLDERS = sorted(path.name for path in (ROOT / "src" / "oneloop").iterdir() if path.is_dir())
PATH = re.compile(rf"`((?:{'|'.join(map(re.escape, (*ROOTS, *FOLDERS)))})/[\w./-]*(?:\.\w+|/|\.\.\.))`")
"""A path in prose: of the repository, or below the package."""
BESIDE = [
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs" / "decisions").glob("*.md")),
]


@pytest.mark.parametrize("page", [*PAGES, *BESIDE], ids=lambda path: path.name)
def test_every_path_exists(page):
    for path in PATH.findall(prose(page)):
        places = [ROOT / path, ROOT / "src" / "oneloop" / path]
        assert any(place.exists() for place in places) or path.endswith("..."), f"{page.name}: {path}"
        if path.endswith("..."):
            assert any(place.exists() for place in (each.parent for each in places)), f"{page.name}: {path}"


@pytest.mark.parametrize("page", BESIDE, ids=lambda path: path.name)
def test_pages_beside_the_docs_link_and_name_what_there_is(page):
    test_links_lead_somewhere(page)
    test_code_names_exist(page)


def test_the_map_of_the_readme_is_the_root_of_the_package():
    text = (ROOT / "README.md").read_text().partition("src/oneloop/\n")[2].partition("```")[0]
    named = set(re.findall(r"^  ([\w.]+)/?\s", text, re.MULTILINE))
    there = {path.name for path in (ROOT / "src" / "oneloop").iterdir()} - {"__pycache__"}
    assert named == {name for name in there if not name.startswith("__") and name != "py.typed"}
