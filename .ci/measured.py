"""Rows of the table in docs/measured.md, each made from a file of benchmarks/results; no figure is typed.

A row is (what, results file, figure from that file, command that measures it again); a row whose file is not
there, or holds no such figure, is left out.
"""

import json
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.claims.intervals import interval

Results = dict[str, Any]
HEADER = ("what", "figure", "command")


def ratio(found: Results) -> str:
    """A ratio with its interval: 2.13 (1.92-2.90)."""
    return f"{found['ratio']:.2f} ({found['low']:.2f}-{found['high']:.2f})"


def cpu(found: Results) -> str:
    """The CPU that figures were taken on."""
    return str(found["hardware"]).partition(",")[0]


def spread(ratios: Sequence[float]) -> str:
    """Median, lowest and highest of repeated ratios."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) over {len(ratios)}"


def grpo(name: str) -> Callable[[Results], str]:
    """A GRPO step against TRL's, and its peak memory; empty where it was not measured."""

    def figure(found: Results) -> str:
        if name not in found:
            return ""
        run = found[name]
        figures = [
            f"{precision} {ratio(ours)}, {ours['mib'] / run['trl_mib']:.2f} of TRL's peak memory"
            for precision, ours in run["ours"].items()
        ]
        where = f"TRL in {run['trl_precision']}; {cpu(run)}"
        return f"ours in {'; in '.join(figures)}, over {run['steps']} ({where})"

    return figure


def sampling(task: str) -> Callable[[Results], str]:
    """Peers' time over ours for sampling from a real model; empty where it was not measured."""

    def figure(found: Results) -> str:
        ratios = found["tasks"].get(task, {"ratios": {}})["ratios"]
        figures = ", ".join(f"{peer} {spread(values)}" for peer, values in ratios.items())
        ours = " ".join(found["settings"]["oneloop"])
        return f"{figures} (ours in {ours}; {cpu(found)})" if ratios else ""

    return figure


def parity(found: Results) -> str:
    """The largest difference to TRL's own code."""
    return f"largest difference {found['largest']:.1e} over {len(found['cases'])} settings"


def otr(name: str) -> Callable[[Results], str]:
    """A One-Token Rollout step against another."""
    return lambda found: f"{ratio(found[name])} over {found['steps']}"


def engine(kind: str, peer: str) -> Callable[[Results], str]:
    """Sampling against a peer's."""

    def figure(found: Results) -> str:
        task = found[kind]
        precisions = f"{task['settings'][peer]} over {task['settings']['oneloop']}"
        return f"{spread(task['ratios'][peer])} ({precisions}; {cpu(found)})"

    return figure


def ranking(found: Results) -> str:
    """A million comparisons against the fastest peer."""
    fastest, difference = found["fastest"], max(found["difference"].values())
    return f"{ratio(fastest)} over {fastest['repeats']}, solutions equal to {difference:.0e}"


def both(rows: Sequence[str], column: str) -> Callable[[Results], str]:
    """One column of some rows of a claim's table."""

    def figure(found: Results) -> str:
        cells = {each["row"]: each.get(column) for each in found["table"]}
        shown = [f"{c['mean']:.2f} ({c['low']:.2f}-{c['high']:.2f})" for c in (cells[row] for row in rows)]
        return f"{'; '.join(shown)}; {found['seeds']} seeds"

    return figure


def d3s(found: Results) -> str:
    """The update over its schedule, and at its ends."""
    over = {name: each["grpo_over"] for name, each in found.items() if name.startswith("d3s")}
    mean = found["d3s"]
    ends = f"{over['d3s at 0.0']:.2f} at its start, {over['d3s at 1.0']:.2f} at its end"
    return f"{mean['grpo_over']:.2f} ({mean['low']:.2f}-{mean['high']:.2f}) over {found['repeats']}; {ends}"


def overhead(found: Results) -> str:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(found["overhead"], n=4)
    return f"{middle:.2f} ({low:.2f}-{high:.2f}, quartiles) over {len(found['overhead'])}"


def pretrained(kind: str) -> Callable[[Results], str]:
    """Arms on the pretrained model."""
    return lambda found: ", ".join(
        f"{row['recipe']} {100 * row['sampled']['score'][0]:.1f} %" for row in found[kind]
    )


def combined(found: Results) -> str:
    """GRPO, each part alone and all of them."""
    return accuracies(found["ranking"])


def between(mean: float, low: float, high: float) -> str:
    """A number with its interval, to two decimals or two digits of the interval's width."""
    digits = min(6, max(2, 1 - math.floor(math.log10(high - low)))) if high > low else 2
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def headline(found: Results) -> str:
    """A claim's own number."""
    return f"{between(found['measured'], found['low'], found['high'])}, {found['seeds']} seeds"


def compared(found: Results) -> str:
    """What `oneloop compare` found."""
    return f"{accuracies(found['recipes'])}; {found['seeds']} seeds"


def accuracies(recipes: Sequence[Results]) -> str:
    """Held-out sampled accuracy of each."""
    cells = []
    for row in recipes:
        mean, low, high = (100 * value for value in row["sampled"]["accuracy"])
        cells.append(f"{row['recipe']} {mean:.1f} % ({low:.1f}-{high:.1f})")
    return ", ".join(cells)


def long_run(found: Results) -> str:
    """Memory gained in a thousand steps, at which size, and what a step takes early and late."""
    run = found["run"]
    gained, low, high = run["memory_mb_per_1000_steps"]
    early, late = (1000 * seconds for seconds in run["step_seconds_median"])
    return (
        f"{gained:+.1f} MB ({low:.1f}-{high:.1f}) in 1,000 of {run['steps']:,} steps, "
        f"{run['memory_mb'][1]:.0f} MB at the end; a step takes {early:.0f} ms early, {late:.0f} ms late"
    )


def long_report(found: Results) -> str:
    """Peak memory, bytes and seconds of a report."""
    page = found["report"]
    return (
        f"{page['peak_mb']:.0f} MB, {page['seconds']:.0f} s and a page of {page['bytes'] / 1e6:.1f} MB for "
        f"{page['rollouts']:,} rollouts of {page['tokens']:,} tokens"
    )


def verdicts(found: Results) -> str:
    """Chosen, random, what lies between them, and the share of verdicts paid for."""
    spent = [run["chosen"]["verdicts"] / run["chosen"]["rollouts"] for run in found["runs"]]
    after = [[run[how]["after one_sided sampled"] for run in found["runs"]] for how in ("chosen", "random")]
    chosen, random = (f"{100 * statistics.fmean(values):.1f} %" for values in after)
    mean, low, high = interval([100 * (one - other) for one, other in zip(*after, strict=True)])
    between = f"{mean:+.1f} points ({low:.1f} to {high:.1f})"
    return f"{chosen}, {random}; {between}, {len(spent)} seeds, {statistics.fmean(spent):.0%} paid for"


ROWS: tuple[tuple[str, str, Callable[[Results], str], str], ...] = (
    (
        "a GRPO step, TRL 1.16 over oneloop, 64 completions of at most 64 tokens",
        "grpo_vs_trl",
        grpo("random 64"),
        "python -m benchmarks.grpo_vs_trl",
    ),
    ("the same, long-tail lengths of at most 256 tokens", "grpo_vs_trl", grpo("random 256"), "the same"),
    (
        "a GRPO step of SmolLM2-135M, TRL 1.16 over oneloop, 16 completions of at most 64 tokens",
        "grpo_vs_trl",
        grpo("smollm2-135m-instruct 64"),
        "python -m benchmarks.grpo_vs_trl --model MODEL --groups 2 --longest 64 --steps 3",
    ),
    (
        "sampling from SmolLM2-135M, peers over ours, 16 sequences of 64 tokens",
        "real_size",
        sampling("16 equal"),
        "python -m benchmarks.real_size MODEL --vllm PYTHON",
    ),
    ("the same, 1 sequence", "real_size", sampling("1 equal"), "the same"),
    ("the same, 64 sequences", "real_size", sampling("64 equal"), "the same"),
    ("the same, 64 sequences of long-tail lengths", "real_size", sampling("64 long tail"), "the same"),
    (
        "advantages, loss and gradient against TRL's own code",
        "parity_trl",
        parity,
        "python benchmarks/parity_trl.py",
    ),
    (
        "XRPO, zero-shot accuracy on rules that GRPO never samples: seeded and distilled; GRPO",
        "xrpo",
        both(("seeding: seeded, trained on the question", "seeding: GRPO"), "zero-shot"),
        "python -m benchmarks.claims xrpo",
    ),
    (
        "a One-Token Rollout step over a supervised step",
        "otr_step",
        otr("otr_over_sft"),
        "python benchmarks/otr_step.py",
    ),
    ("a One-Token Rollout step over TRL's SFTTrainer step", "otr_step", otr("otr_over_trl_sft"), "the same"),
    (
        "sampled accuracy after imitating demonstrations of which 30 % are wrong",
        "imitation",
        compared,
        "oneloop compare sft dft otr --seeds 5 evaluate.every=20 evaluate.held_out=0",
    ),
    (
        "sampling at 3.2 M, `generate` over ours, each at its fastest, long-tail lengths",
        "engine",
        engine("long tail", "generate"),
        "python -m benchmarks.engine",
    ),
    (
        "the same, transformers' `generate_batch` over ours",
        "engine",
        engine("long tail", "generate_batch"),
        "the same",
    ),
    (
        "the same, `generate` over ours, equal lengths",
        "engine",
        engine("equal lengths", "generate"),
        "the same",
    ),
    (
        "ranking a million comparisons, the fastest of choix, evalica and arena-rank over oneloop",
        "ranking",
        ranking,
        "python benchmarks/ranking.py --repeats 3",
    ),
    (
        "tokens learned from in a second of whole steps, APRIL over synchronous, each with its best slots",
        "april",
        headline,
        "python -m benchmarks.claims april --seeds 5",
    ),
    (
        "the update of a GRPO step over that of D3S, mean over its schedule; below 1 D3S is slower",
        "d3s_update",
        d3s,
        "python benchmarks/d3s_update.py",
    ),
    (
        "a GRPO step with the parts of CAPO, XRPO, APRIL and D3S there but neutral, over a plain one",
        "together",
        overhead,
        "python benchmarks/together.py --only overhead",
    ),
    (
        "sampled accuracy on sums of eight steps, 250,000 sampled tokens each (3 seeds)",
        "together",
        combined,
        "python benchmarks/together.py --only ranking",
    ),
    (
        "sampled accuracy of SmolLM2-135M on sums in two lines, from one warm start, 10,000 sampled tokens each "
        "(one seed, one learning rate: seen, not claimed)",
        "pretrained",
        pretrained("rewards"),
        "python -m benchmarks.pretrained",
    ),
    (
        "the same after 256 demonstrations, of which 30 % are wrong, from the model as it comes",
        "pretrained",
        pretrained("demonstrations"),
        "the same",
    ),
    (
        "sampled accuracy where verdicts cost: chosen by judge `one_sided`, and as many at random",
        "verdicts",
        verdicts,
        "python benchmarks/verdicts.py",
    ),
    (
        "resident memory over a long run of a model of width 8, journal and checkpoints written",
        "flat",
        long_run,
        "python -m benchmarks.reliability.flat",
    ),
    (
        "what a process takes that writes the report of many long rollouts",
        "flat",
        long_report,
        "the same",
    ),
)


def rows(results: Path) -> list[tuple[str, str, str]]:
    """(what, figure, command) of every row whose results are there."""
    found = []
    for what, name, figure, command in ROWS:
        path = results / f"{name}.json"
        if path.is_file():
            shown = command if command == "the same" else f"`{command}`"
            printed = figure(json.loads(path.read_text()))
            if printed:
                found.append((what, printed, shown))
    return found


RELIABILITY_HEADER = ("done at random moments and places", "times", "found", "command")
RELIABILITY = (
    (
        "runs of the shipped recipes killed with SIGKILL, resumed, compared to the bit with runs left alone",
        "kills",
        "{lost} rollouts lost, {doubled} doubled; {different} runs different; {left files} files and "
        "{left processes} processes left; {tracebacks} tracebacks",
    ),
    (
        "the same with SIGTERM and SIGINT",
        "signals",
        "{wrong exit code} wrong exit codes, {no report} without a report, {different} runs different, "
        "{left files} files left, {tracebacks} tracebacks",
    ),
    (
        "files of a run directory damaged, deleted or added, then resumed",
        "corruption",
        "{equal results} went on with equal results, {refused in words} were refused in a sentence, "
        "{silently different} silently different, {tracebacks} tracebacks",
    ),
    (
        "two processes started or resumed on one directory",
        "two_processes",
        "{both wrote} times both wrote, {none wrote} neither; {different} runs different; {tracebacks} tracebacks",
    ),
    (
        "mutated recipes loaded, and {runs} of the accepted ones run for two steps",
        "recipes",
        "{accepted} accepted, {refused in words} refused in sentences; {tracebacks} tracebacks, {hangs} hangs, "
        "{deaths} deaths; {ran to the end} ran to the end, {run refused in words} and {run stopped in words} "
        "ended in a sentence, {run tracebacks} tracebacks",
    ),
)


def reliability(results: Path) -> list[tuple[str, str, str, str]]:
    """(what was done, times, what was found, command) of every script of benchmarks/reliability."""
    rows = []
    for what, name, figure in RELIABILITY:
        path = results / f"reliability_{name}.json"
        if path.is_file():
            found = json.loads(path.read_text())
            command = f"`python -m benchmarks.reliability.{name}`"
            rows.append((what.format(**found), f"{found['tries']:,}", figure.format(**found), command))
    return rows
