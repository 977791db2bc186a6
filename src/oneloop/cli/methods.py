"""`oneloop list`: the index of methods that ships with the package."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from oneloop.cli.terminal import console

INDEX = Path(__file__).with_name("methods.json")
"""What the claims of `benchmarks/claims` say and measured; `.ci/method_index.py` writes it."""


def methods(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead, one object a claim.")] = False,
) -> None:
    """List papers, their recipes, and what their claims measured.

    Example: oneloop list --json
    """
    found: list[dict[str, Any]] = json.loads(INDEX.read_text(encoding="utf-8"))
    if as_json:
        print(json.dumps(found, indent=2))
        return
    heads = ("name", "paper", "it says", "measured here", "target", "result (95 %)", "state", "against", "on")
    table = Table(*heads)
    for method in found:
        table.add_row(*(escape(str(cell)) for cell in row(method)))
    console.print(table)


def row(method: dict[str, Any]) -> tuple[str, ...]:
    """The cells of one method."""
    measured, number, about = method["measured"], "not yet", ""
    if measured is not None:
        ends = f"{method['low']:.3g} to {method['high']:.3g}"
        number = f"{measured:.3g} ({ends}), {method['seeds']} seeds"
        about = ", ".join(filter(None, (method["date"], method["hardware"])))
    rivals = ", ".join(arm["name"] for arm in method["arms"])
    against = "; ".join(
        filter(None, (rivals and f"tuned: {rivals}" if method["tuned"] else rivals, method["found"]))
    )
    said = (method["name"], method["paper"], method["says"], method["claim"])
    state = method["state"] + (", made by earlier code" if method["stale"] else "")
    return (*said, f"{method['target']:g}", number, state, against, about)
