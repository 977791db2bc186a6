"""Fills the templates of this folder: all pages extend `page.html`, which has the head, the content security
policy and the scripts.
"""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup


def filled(template: str, styles: Sequence[str] = (), scripts: Sequence[str] = (), **values: Any) -> str:
    """The text of `template` with `values`, escaped; `styles` and `scripts` are files that a page embeds."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("oneloop.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    folder = files("oneloop.report") / "templates"
    embedded = {
        what: [Markup((folder / name).read_text()) for name in names]
        for what, names in (("styles", styles), ("scripts", scripts))
    }
    return environment.get_template(template).render(**embedded, **values)
