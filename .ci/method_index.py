"""Writes what the documents quote of measured claims, between markers that occur twice:

    <!-- methods -->      in README.md: seven rows, one for each question of the loop
    <!-- measured -->     in docs/measured.md: the rows of measured.py, each from a file of benchmarks/results
    <!-- reliability -->  in docs/measured.md: what the scripts of benchmarks/reliability found
    <!-- claim NAME -->   in a page of docs: the table of that claim, as benchmarks/results/NAME.json has it
    <!-- columns -->      in docs/design.md: the columns, as they are declared
    <!-- kinds -->        in docs/recipes.md: the kinds of part, and the parts of each
    <!-- shipped -->      in docs/recipes.md: the recipes that come with it and what each reaches
    <!-- parts -->        in docs/parts.md: every part with its options
    <!-- compared -->     in docs/otr.md: what `oneloop compare` found, benchmarks/results/imitation.json
    <!-- files -->        in docs/image_tokenizer.md: pictures as files, benchmarks/results/picture_files.json

Into the head of each recipe it writes what `python -m benchmarks.release` found that it reaches.

    python .ci/method_index.py            writes them
    python .ci/method_index.py --check    names the documents that are not up to date, exit code 1 if any

`python -m benchmarks.claims NAME` measures; after it, run this.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
import measured  # noqa: E402

from oneloop.core import rooms  # noqa: E402
from oneloop.core.columns import FAMILIES, declarations  # noqa: E402
from oneloop.core.rollouts import Actions, Rollouts  # noqa: E402
from oneloop.cli.recipes import summary  # noqa: E402
from oneloop.recipe.catalogue import first_line, options_of, room_line  # noqa: E402
from oneloop.recipe.text import shipped  # noqa: E402
from benchmarks.claims.registry import RESULTS, methods, names  # noqa: E402

INDEX = ROOT / "src" / "oneloop" / "cli" / "methods.json"
COLUMNS = (
    "method",
    "the paper says",
    "measured here",
    "result",
    "against tuned rivals or equal work",
    "state",
    "recipe",
    "on",
)
STAGES = (
    ("plan: what to try, how often", ("xrpo", "april", "brorl", "shiftnas")),
    ("judge: how good was it", ("onereward", "fair")),
    ("credit: which action earned it", ("capo", "branchgrpo")),
    ("select: what to learn from", ("d3s",)),
    ("update: how to learn from it", ("otr",)),
    ("measure: who is better", ("onebench",)),
    ("model: what learns, and where it runs", ("one_d_piece", "tokenflex", "one_dm", "oneflow")),
)
"""The seven rows of README: a question of the loop, and the claims of the methods that answer it."""

REACHES = "# Held out, before and after each phase:"
"""How the line in a recipe's head begins that says what it reaches."""


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def stages(root: Path = ROOT) -> str:
    """README's seven rows: what was measured of each method, and what became of it when it was tried again."""
    known = {method["name"]: method for method in methods(root / RESULTS)}
    rows = []
    for question, claims in STAGES:
        links = ", ".join(link(known[name], root) for name in claims)
        said = "<br>".join(f"**{name}**: {known[name]['says']}" for name in claims)
        rows.append((question, links, said, "<br>".join(finding(known[name]) for name in claims)))
    return markdown(("the loop asks", "methods", "the paper says", "measured here, and against what"), rows)


def link(method: Mapping[str, Any], root: Path) -> str:
    """A claim's name, linked to the page with its table, or to the page it names instead of a recipe."""
    name, recipe = method["name"], str(method["recipe"])
    page = page_of(name, root)
    target = f"docs/{page.name}" if page else recipe if recipe.startswith("docs/") else ""
    return f"[{name}]({target})" if target else name


def finding(method: Mapping[str, Any]) -> str:
    """One method in a sentence: its state first, then its number, then what stronger rivals made of it."""
    number = "" if method["found"] and not method["tuned"] else f"{method['claim']}: {measured_text(method)}"
    said = "; ".join(filter(None, (number, method["found"])))
    return f"**{method['name']}** {method['state']}: {said}{stale_text(method)}"


def stale_text(method: Mapping[str, Any]) -> str:
    """Said of a result that was made by other code than the present."""
    return " (made by earlier code)" if method["stale"] else ""


def measured_text(method: Mapping[str, Any]) -> str:
    """What was measured against what was claimed."""
    if method["measured"] is None:
        return "not measured yet"
    found = measured.between(method["measured"], method["low"], method["high"])
    return f"{found}, claimed {method['target']:g}, {method['seeds']} seeds"


def index(root: Path = ROOT) -> str:
    """The method index; a method links to the page with its table."""
    return markdown(COLUMNS, [cells(method, root) for method in methods(root / RESULTS)])


def cells(method: Mapping[str, Any], root: Path) -> tuple[str, ...]:
    """One row of the index; what was not measured stays empty."""
    return (
        link(method, root),
        f"{method['paper']}: {method['says']}",
        method["claim"],
        measured_text(method) + stale_text(method),
        method["found"],
        method["state"],
        recipe_link(method["recipe"]),
        ", ".join(filter(None, (method["date"], method["hardware"]))),
    )


def recipe_link(recipe: str) -> str:
    """A shipped recipe by name, or a page of docs."""
    file = recipe if recipe.startswith("docs/") else f"src/oneloop/recipe/shipped/{recipe}.yaml"
    return f"[{recipe}]({file})"


def shipped_table(found: Mapping[str, Any]) -> str:
    """Every recipe that comes with it: what it shows and needs, and what it reaches on one seed."""
    rows = []
    for name, file in shipped().items():
        took = f"{found[name]['seconds']:.0f}" if name in found else ""
        named = f"[{name}](../{file.relative_to(ROOT)})"
        rows.append((named, summary(file), reached(found.get(name)), took))
    header = ("recipe", "what it shows", "held out, before it and after each phase", "seconds")
    where = "; ".join(sorted({f"{row['hardware']}, {row['date']}" for row in found.values()}))
    return f"{markdown(header, rows)}\n\n{where or 'None was run'}."


def reached(row: Mapping[str, Any] | None) -> str:
    """What a recipe reaches, mode by mode."""
    if row is None:
        return "not run"
    if row["failed"]:
        return f"failed: {row['failed']}"
    form = "{:.2f}" if row.get("of") == "accuracy" else "{:.3g}"
    shown = {mode: [form.format(value) for value in row[mode]] for mode in ("greedy", "sampled") if mode in row}
    modes = [f"{mode} {' -> '.join(values)}" for mode, values in shown.items()]
    return f"{row['of']} {', '.join(modes)}" if modes else "nothing is held out"


def with_reached(recipe: str, row: Mapping[str, Any] | None) -> str:
    """A recipe whose head says what it reaches on one seed, where that is known."""
    lines = [line for line in recipe.splitlines() if not line.startswith(REACHES)]
    if row is not None:
        end = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
        lines.insert(end, f"{REACHES} {reached(row)} ({row['date']}).")
    return "\n".join(lines) + "\n"


def claim_table(stored: Mapping[str, Any]) -> str:
    """Everything a claim measured: means, 95 % intervals, seeds, date."""
    rows = stored["table"]
    columns = list(dict.fromkeys(column for row in rows for column in row if column != "row"))
    body = [[row["row"], *(cell(row.get(column)) for column in columns)] for row in rows]
    found = measured.between(stored["measured"], stored["low"], stored["high"])
    verdict = "holds" if stored["holds"] else "does not hold"
    about = ", ".join([f"{stored['seeds']} seeds", *filter(None, (stored["date"], stored.get("hardware")))])
    headline = f"Claim: {stored['claim']}. Measured {found}, it {verdict}"
    return f"{markdown(['', *columns], body)}\n\n{headline}; {about}."


def compared_table(stored: Mapping[str, Any]) -> str:
    """What a comparison of recipes found: accuracy, paired differences in points, cost."""
    first = stored["recipes"][0]["recipe"]
    header = ["recipe", "sampled", f"points to {first}", "greedy", f"points to {first}", "FLOPs", "seconds"]
    rows = []
    for row in stored["recipes"]:
        cells = []
        for mode in ("sampled", "greedy"):
            cells.append(percent(row[mode]["accuracy"], "{:.1f}"))
            cells.append("" if row["recipe"] == first else percent(row[mode]["difference"], "{:+.1f}"))
        spent = row["spent"]
        rows.append([row["recipe"], *cells, f"{spent['flops']:.2e}", f"{spent['seconds']:.1f}"])
    about = f"{stored['seeds']} seeds, {stored['date']}, {'; '.join(stored['hardware'])}"
    return f"{markdown(header, rows)}\n\n{about}."


def percent(interval: Sequence[float | None], form: str) -> str:
    """Mean and interval in percent, as far as there is one."""
    shown = [form.format(100 * value) for value in interval if value is not None]
    return f"{shown[0]} ({shown[1]} to {shown[2]})" if len(shown) == 3 else "".join(shown[:1])


def cell(value: Mapping[str, float] | None) -> str:
    """Mean and interval."""
    if value is None:
        return ""
    mean, low, high = (number(value[name]) for name in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def number(value: float) -> str:
    """Three decimals; two significant digits below .01, so that a learning rate is not printed as 0.000.

    None from a thousand on, and three significant digits from a million on.
    """
    if abs(value) >= 1000:
        return f"{value:.3g}" if abs(value) >= 1e6 else f"{value:.0f}"
    return f"{value:.3f}" if abs(value) >= 0.01 or value == 0 else f"{value:.2g}"


def between(text: str, marker: str, content: str) -> str:
    """`text` with `content` between its two markers. Raises ValueError when it has not just two."""
    pieces = text.split(marker)
    if len(pieces) != 3:
        raise ValueError(f"a document must hold {marker} twice, around the table, got {len(pieces) - 1}")
    return f"{pieces[0]}{marker}\n{content}\n{marker}{pieces[2]}"


def documents(root: Path = ROOT) -> dict[Path, str]:
    """{document: what it should say}, of those there are."""
    found = {}
    readme = root / "README.md"
    if readme.is_file():
        text = between(readme.read_text(), "<!-- methods -->", stages(root))
        found[readme] = text
    page = root / "docs" / "measured.md"
    if page.is_file():
        table = markdown(measured.HEADER, measured.rows(root / RESULTS))
        text = between(page.read_text(), "<!-- measured -->", table)
        table = markdown(measured.RELIABILITY_HEADER, measured.reliability(root / RESULTS))
        found[page] = between(text, "<!-- reliability -->", table)
    page = root / "docs" / "design.md"
    if page.is_file():
        found[page] = between(page.read_text(), "<!-- columns -->", columns_table())
    for file, marker, content in (("recipes", "kinds", kinds_table), ("parts", "parts", parts_list)):
        page = root / "docs" / f"{file}.md"
        if page.is_file():
            found[page] = between(page.read_text(), f"<!-- {marker} -->", content())
    stored, page = root / RESULTS / "release.json", root / "docs" / "recipes.md"
    if stored.is_file():
        reaches = json.loads(stored.read_text())["recipes"]
        found[page] = between(found[page], "<!-- shipped -->", shipped_table(reaches))
        for name, file in shipped().items():
            found[file] = with_reached(file.read_text(), reaches.get(name))
    for name in names():
        stored, page = root / RESULTS / f"{name}.json", page_of(name, root)
        if page is not None and stored.is_file():
            content = claim_table(json.loads(stored.read_text()))
            found[page] = between(found.get(page, page.read_text()), f"<!-- claim {name} -->", content)
    page, stored = root / "docs" / "otr.md", root / RESULTS / "imitation.json"
    if page.is_file() and stored.is_file():
        content = compared_table(json.loads(stored.read_text()))
        found[page] = between(found.get(page, page.read_text()), "<!-- compared -->", content)
    page, stored = root / "docs" / "image_tokenizer.md", root / RESULTS / "picture_files.json"
    if page.is_file() and stored.is_file():
        content = files_table(json.loads(stored.read_text()))
        found[page] = between(found.get(page, page.read_text()), "<!-- files -->", content)
    return found


def files_table(found: Mapping[str, Any]) -> str:
    """Bytes, quality and time of pictures as files, the formats at their coarser settings."""
    coarse = (" 0", " 1", " 10", " 60", " 15")
    kept = [
        row
        for row in found["rows"]
        if row["file"].endswith(coarse) or "codes" in row["file"] or "shrunk" in row["file"]
    ]
    cells = [[_short(value) for value in row.values()] for row in kept]
    return (
        f"{markdown(tuple(kept[0]), cells)}\n\n{found['hardware']}; medians over {found['timed']} pictures."
    )


def _short(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def columns_table() -> str:
    """Every declared column: table, who writes it, whether it is recorded, the metrics it becomes."""
    rows = []
    for table in (Rollouts, Actions):
        for name, column in declarations(table).items():
            metrics = ", ".join(f"`{m}`" for m in (column.mean, column.largest, column.smallest) if m)
            where = table.__name__.lower()
            rows.append((f"`{name}`", where, column.by, "yes" if column.recorded else "", metrics))
    rows += [
        (f"`{name}...`", "rollouts", each.by, "yes" if each.recorded else "", "")
        for name, each in FAMILIES.items()
    ]
    return markdown(("column", "table", "written by", "recorded", "metrics"), rows)


def kinds_table() -> str:
    """Every kind of part, and the parts there are, linked to where their options stand."""
    rows = []
    for room in rooms.ROOMS:
        links = ", ".join(f"[`{name}`](parts.md#{anchor(room, name)})" for name in rooms.names(room))
        rows.append((f"`{room}`", cell_text(room_line(room)), links))
    return markdown(("kind", "what it is", "parts"), rows)


def parts_list() -> str:
    """Every part under its kind: what it is, its paper, and a table of its options."""
    pieces = []
    for room in rooms.ROOMS:
        pieces.append(f"## {room}\n\n{room_line(room)}")
        for name in rooms.names(room):
            cls = rooms.find(room, name)
            paper = f" ({cls.part_paper})" if cls.part_paper else ""
            options = [
                (f"`{option}`", f"`{cell_text(default)}`", cell_text(text))
                for option, default, text in options_of(cls)
            ]
            table = f"\n\n{markdown(('option', 'default', 'meaning'), options)}" if options else ""
            pieces.append(f"### {room}: {name}\n\n{first_line(cls)}{paper}{table}")
    return "\n\n".join(pieces)


def anchor(room: str, name: str) -> str:
    """Where the heading of a part is on its page."""
    return f"{room}-{name}"


def cell_text(text: str) -> str:
    """Text for one cell of a table."""
    return text.replace("|", "\\|")


def page_of(name: str, root: Path = ROOT) -> Path | None:
    """The page that holds the table of that claim."""
    pages = sorted((root / "docs").glob("*.md"))
    return next((page for page in pages if f"<!-- claim {name} -->" in page.read_text()), None)


def shipped_index() -> str:
    """What `oneloop list` prints where there is no clone."""
    return json.dumps(methods(ROOT / RESULTS), indent=1) + "\n"


def main(check: bool) -> int:
    """Writes the documents, or with `check` only compares; 1 when one was not up to date."""
    wanted = {**documents(), INDEX: shipped_index()}
    stale = {path: text for path, text in wanted.items() if not path.is_file() or path.read_text() != text}
    if check:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not up to date; run: python .ci/method_index.py")
        return int(bool(stale))
    for path, text in stale.items():
        path.write_text(text)
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
