"""`oneloop mass-balance`: the table has what was simulated, the figure is an SVG that stands alone."""

import re
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from oneloop.cli.main import main
from oneloop.measure.width.token_simulator import TokenSimulator

SMALL = ("--vocabulary", "400", "--correct", "30", "--steps", "40")


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Calls `oneloop mass-balance <words>` in an empty folder; gives (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["oneloop", "mass-balance", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    return call


def test_it_prints_what_the_simulator_measured(command):
    code, out, err = command(*SMALL, "--rollouts", "4", "--rollouts", "64", "--seed", "3")
    assert code == 0, err
    for n, bound in ((4, "8.2e-02"), (64, "5.7e-03")):
        first, *_, last = TokenSimulator(vocabulary=400, correct=30, rollouts=n, seed=3).run(40)
        expected = [
            str(n),
            f"{first['q_pos']:.4f}",
            f"{last['q_pos']:.4f}",
            f"{100 * last['improved']:.1f} %",
        ]
        (row,) = [line for line in out.splitlines() if re.match(rf"│ +{n} │", line)]
        cells = [cell.strip() for cell in row.strip("│").split("│")]
        assert cells == [*expected, f"{last['worst']:+.1e}", bound]
    assert "figure: mass-balance.svg" in out


def test_the_figure_is_an_svg_with_a_curve_each_width(command, tmp_path):
    widths = (2, 3, 5, 8, 13)
    words = [word for n in widths for word in ("--rollouts", str(n))]
    code, _, err = command(*SMALL, *words, "--surrogate", "logprob", "--out", "deep/figure.svg")
    assert code == 0, err
    text = (tmp_path / "deep" / "figure.svg").read_text()
    root = ElementTree.fromstring(text)
    paths = [node for node in root.iter() if node.tag.endswith("path")]
    assert len(paths) == 2 * len(widths) and {node.get("class") for node in paths} == {
        f"line c{place}" for place in range(len(widths))
    }
    for node in paths:
        points = re.findall(r"[-\d.]+,[-\d.]+", node.get("d"))
        assert len(points) == 21 and len(set(points)) == len(points)
    assert all(f"N = {n}" in text for n in widths) and "surrogate logprob" in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", ""), "nothing is fetched"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--correct", "500"), "correct must be below vocabulary (400), got 500"),
        (("--surrogate", "ppo"), "Invalid value for '--surrogate'"),
        (("--eps", "0"), "mass-balance.eps: must be greater than 0"),
    ],
)
def test_faults_are_sentences(command, words, said):
    code, out, err = command(*SMALL, *words)
    assert code == 2 and said in err and "Traceback" not in out + err
