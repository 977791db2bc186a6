"""Fills the templates of this folder: all pages extend `page.html`, which has the head, the content security
policy and the scripts.
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup


def filled(template: str, styles: Sequence[str] = (), scripts: Sequence[str] = (), **values: Any) -> str:
    """The text of `template` with `values`, escaped; `styles` and `scripts` are files that a page embeds."""
    folder = files("oneloop.report") / "templates"
    embedded = {
        what: [Markup((folder / name).read_text(encoding="utf-8")) for name in names]
        for what, names in (("styles", styles), ("scripts", scripts))
    }
    return _environment().get_template(template).render(**embedded, **values)


@cache
def _environment() -> jinja2.Environment:
    """Compiles each template once."""
    loader = jinja2.PackageLoader("oneloop.report")
    return jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
