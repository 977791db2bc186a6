"""The page of a plan: one file, no requests; its arcs and rows are the plan's."""

import re

import torch

from oneloop.parallel.placement.bounded import Budget
from oneloop.parallel.placement.hand import HandPlan
from oneloop.parallel.placement.planner import plan
from oneloop.parallel.placement.search import Wishes
from oneloop.parallel.placement.summary import traffic
from oneloop.report.placement_page import ROW, render, write_placement_page
from tests.parallel.placement.models import Reader, batch


def made():
    model = Reader(layers=2)
    held = sum(p.numel() * 4 for p in model.parameters())
    return plan(model, (4,), batch(), Wishes(budget=Budget(parameters=held // 4)))


def test_the_page_shows_the_plan(tmp_path):
    found = made()
    hand = [HandPlan("zero3", 2 * found.bytes_per_step, 1024, "gathered twice")]
    page = write_placement_page(tmp_path / "plan.html", found, hand).read_text()
    assert "0.50 times what zero3 does" in page and "http" not in page.replace("http-equiv", "")
    assert page.count("<path ") == sum(one.source != one.target for one in traffic(found))
    rows = re.findall(r'<span class="name" title="([^"]+)">', page)
    assert "blocks.*.up" in rows and len(rows) == len(set(rows))
    assert f'height:{ROW * len(rows)}px" role="img"' in page


def test_bytes_of_the_edges_are_those_of_the_plan():
    found = made()
    assert sum(one.volume for one in traffic(found)) == found.bytes_per_step


def test_names_are_escaped():
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_parameter("<b>w", torch.nn.Parameter(torch.ones(4, 4)))

        def forward(self, x):
            return (x @ getattr(self, "<b>w")).sum()

    page = render(plan(Odd(), (2,), {"x": torch.ones(2, 4)}))
    assert "<b>" not in page and "&lt;b&gt;w" in page
