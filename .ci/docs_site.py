"""Pages of the site that are not files of docs/: mkdocs calls the `on_` functions of this hook.

    index.md           README.md                      recipe_files/NAME.md   a shipped recipe
    claims.md          the index of claims            api/ROOM.md            docstrings of src/oneloop/ROOM

Links of pages to files of the repository (../recipes/x.yaml, ../src/oneloop/a/b.py) become links to these
pages, so that a page reads the same on the site and in the repository. Others, to results, become code.
"""

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "oneloop"
LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<to>[^)\s]+)\)")
UNSEEN = ("cli", "report")
"""Packages that nobody programs against."""
ROOMS = tuple(sorted(p.parent.name for p in SOURCE.glob("*/__init__.py") if p.parent.name not in UNSEEN))
CORE = "loop"
"""The page of what lies beside the rooms."""
TITLES = {"measure": "Measures and ranking", CORE: "The loop and what is around it"}


def modules(room: str) -> list[str]:
    """Dotted names of what a page of the API shows, in order."""
    folder = SOURCE if room == CORE else SOURCE / room
    paths = sorted(folder.glob("*.py") if room == CORE else folder.rglob("*.py"))
    named = [".".join(("oneloop", *path.relative_to(SOURCE).with_suffix("").parts)) for path in paths]
    shown = [name for name in named if not name.endswith("__")]
    return sorted(shown)


def api_page(room: str) -> str:
    """One page of the API."""
    title = TITLES.get(room, room.capitalize())
    return "\n\n".join([f"# {title}", *(f"::: {name}" for name in modules(room))]) + "\n"


def recipe_page(path: Path) -> str:
    """A recipe as it is in the repository."""
    return f"# {path.stem}\n\n```yaml\n{path.read_text()}```\n"


def claims_page() -> str:
    """The index of claims, by itself."""
    sys.path.insert(0, str(Path(__file__).parent))
    from method_index import index

    head = """---
hide: [toc]
---

# Methods and what their claims measured

Every method has a claim: one sentence of its paper, run here at the scale of a CPU over several seeds.
`python -m benchmarks.claims NAME` measures one again, `oneloop list` prints this table. A claim holds when its
whole 95 % interval reaches the target against rivals that are tuned alike. One that reached it and then lost against
a tuned rival, one with the same information or equal total work does not hold: what was found stands beside it.
"Made by earlier code" says that a file which computed the result has changed since.

"""
    return head + index(ROOT) + "\n"


def on_config(config: Any) -> Any:
    """Adds methods' pages, the API and the recipes to the navigation."""
    sections = {name: pages for section in config["nav"] for name, pages in section.items()}
    sections["Methods"] += unlisted(sections)
    api = [{TITLES.get(room, room.capitalize()): f"api/{room}.md"} for room in (CORE, *ROOMS)]
    recipes = [{path.stem: f"recipe_files/{path.stem}.md"} for path in recipe_paths()]
    config["nav"] += [{"API": api}, {"Recipes": recipes}]
    return config


def unlisted(sections: dict[str, Any]) -> list[str]:
    """Pages of docs/ that no section of the navigation names."""
    named = [page for pages in sections.values() for page in ([pages] if isinstance(pages, str) else pages)]
    return sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name not in named)


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages."""
    pages = {"index.md": (ROOT / "README.md").read_text(), "claims.md": claims_page()}
    pages |= {f"api/{room}.md": api_page(room) for room in (CORE, *ROOMS)}
    pages |= {f"recipe_files/{path.stem}.md": recipe_page(path) for path in recipe_paths()}
    for uri, text in pages.items():
        files.append(File.generated(config, uri, content=text))
    return files


def recipe_paths() -> list[Path]:
    """All recipes."""
    return sorted((SOURCE / "recipe" / "shipped").glob("*.yaml"))


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turns links to files of the repository into links to pages."""
    if page.file.src_uri.startswith(("api/", "recipe_files/")):
        return markdown
    inside = "README" if page.file.src_uri in ("index.md", "claims.md") else "docs"
    pieces = re.split(r"(^```.*?^```$)", markdown, flags=re.DOTALL | re.MULTILINE)
    return "".join(
        piece if piece.startswith("```") else LINK.sub(lambda m: link(m, inside), piece) for piece in pieces
    )


def link(found: re.Match[str], inside: str) -> str:
    """One link, as it is on the site."""
    text, to = found["text"], found["to"]
    if "://" in to or to.startswith("#"):
        return found[0]
    to, _, anchor = to.partition("#")
    anchor = f"#{anchor}" if anchor else ""
    path = to.removeprefix("../") if to.startswith("../") or inside == "README" else f"docs/{to}"
    if path.startswith("docs/"):
        return f"[{text}]({path.removeprefix('docs/')}{anchor})"
    if path == "README.md":
        return f"[{text}](index.md{anchor})"
    if path.startswith("src/oneloop/recipe/shipped/"):
        return f"[{text}](recipe_files/{Path(path).stem}.md)"
    if path.startswith("src/oneloop/") and path.endswith(".py"):
        name = ".".join(Path(path).relative_to("src").with_suffix("").parts)
        room = Path(path).parts[2] if Path(path).parts[2] in ROOMS else CORE
        return f"[{text}](api/{room}.md#{name})"
    return f"{text} (`{path}`)"
