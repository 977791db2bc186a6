"""The site: its pages and their order, links that become pages, figures that come from results.

`make docs` builds it strictly; here are the parts that need no build.
"""

import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
NEWCOMER = [
    "install",
    "first_run",
    "own_data",
    "own_reward",
    "own_method",
    "gpu",
    "devices",
    "planner",
    "cluster",
]


@pytest.fixture
def site(monkeypatch):
    pytest.importorskip("mkdocs")
    monkeypatch.syspath_prepend(str(ROOT / ".ci"))
    import docs_site

    return docs_site


@pytest.fixture
def measured(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / ".ci"))
    import measured

    return measured


def navigation():
    """The `nav` of mkdocs.yml: {section: pages}."""
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    return {name: pages for section in config["nav"] for name, pages in section.items()}


def test_a_newcomer_finds_the_pages_in_order():
    assert navigation()["Start"] == [f"{name}.md" for name in NEWCOMER]
    for name, after in zip(NEWCOMER[:4], NEWCOMER[1:5], strict=True):
        assert re.search(
            rf"Next: \[[^]]*\]\({after}\.md\)\.$", (ROOT / "docs" / f"{name}.md").read_text().strip()
        )


def test_pages_that_nobody_lists_are_methods(site):
    config = {"nav": [{"Start": ["install.md"]}, {"Methods": ["claims.md"]}]}
    sections = {name: pages for part in site.on_config(config)["nav"] for name, pages in part.items()}
    assert "otr.md" in sections["Methods"] and "install.md" not in sections["Methods"]
    assert {"Methods", "API", "Recipes"} <= set(sections)
    assert site.unlisted(navigation()) == sorted(set(site.unlisted(navigation())) - set(NEWCOMER))


def test_the_api_shows_every_room(site):
    assert {"core", "sample", "judge", "credit", "select", "update", "measure"} <= set(
        site.ROOMS
    ) and "report" not in site.ROOMS
    assert site.modules(site.CORE)[0] == "oneloop.loop" and "oneloop.cli.main" not in site.modules(site.CORE)
    assert "::: oneloop.credit.group_relative\n" in site.api_page("credit")
    assert "oneloop.measure.ranking.pool" in site.modules("measure")


@pytest.mark.parametrize(
    ("link", "inside", "wanted"),
    [
        ("[otr](docs/otr.md)", "README", "[otr](otr.md)"),
        ("[a](../src/oneloop/recipe/shipped/otr.yaml)", "docs", "[a](recipe_files/otr.md)"),
        ("[a](src/oneloop/recipe/shipped/otr.yaml)", "README", "[a](recipe_files/otr.md)"),
        ("[loop](../src/oneloop/loop.py)", "docs", "[loop](api/loop.md#oneloop.loop)"),
        ("[p](../src/oneloop/sample/plan/plan.py)", "docs", "[p](api/sample.md#oneloop.sample.plan.plan)"),
        ("[r](../README.md#measured)", "docs", "[r](index.md#measured)"),
        ("[d](design.md#engines)", "docs", "[d](design.md#engines)"),
        ("[x](../benchmarks/results/otr.json)", "docs", "x (`benchmarks/results/otr.json`)"),
        ("[web](https://arxiv.org)", "docs", "[web](https://arxiv.org)"),
    ],
)
def test_links_to_the_repository_become_links_to_pages(site, link, inside, wanted):
    assert site.link(site.LINK.fullmatch(link), inside) == wanted


def test_figures_of_the_readme_are_those_of_results(measured, tmp_path):
    found = measured.rows(ROOT / "benchmarks" / "results")
    assert len(found) >= 12 and all(re.search(r"\d", figure) for _, figure, _ in found)
    made = {"ratio": 2.0, "low": 1.5, "high": 2.5}
    stored = {"steps": 4, "otr_over_sft": made, "otr_over_trl_sft": made | {"ratio": 3.0}}
    (tmp_path / "otr_step.json").write_text(json.dumps(stored))
    assert [figure for _, figure, _ in measured.rows(tmp_path)] == [
        "2.00 (1.50-2.50) over 4",
        "3.00 (1.50-2.50) over 4",
    ]
    assert measured.spread([1.0, 3.0, 2.0]) == "2.00 (1.00-3.00) over 3"
