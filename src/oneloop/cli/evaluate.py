"""`oneloop eval`: a model, some held-out rows, a judge; accuracy, pass@k and maj@k with intervals.

What is measured comes from a recipe's `evaluate` section (the run's own, or one that is given), from
`--task` (any reasoning-gym task) or `--data` (a file or a hub data set) and `--judge`; options win.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from oneloop.cli.chat import manner
from oneloop.cli.terminal import console, load, recipes_and_overrides, say
from oneloop.cli.token_sweep import numbers
from oneloop.cli.written import new_file
from oneloop.core.destinations import check_apart
from oneloop.core.rooms import names, nearest
from oneloop.core.storage import replace_file
from oneloop.judge.isolated import isolation_notice
from oneloop.judge.stage import Judging
from oneloop.recipe.reading import RecipeError
from oneloop.recipe.recipe import Recipe
from oneloop.run.checkpoint import locate
from oneloop.run.evaluation import evaluate as measured
from oneloop.run.evaluation import scorers
from oneloop.run.generate import reads_pictures
from oneloop.run.progress import closing_table
from oneloop.run.token_sweep import shown_by
from oneloop.sample.data.columns import ColumnOptions

VERIFIERS = ("reasoning_gym", "math", "exact")
"""Kinds of verifiers, which --judge takes by their names."""
HELD_OUT = 1000
"""Seed of the rows of `--task`; it differs from the small seeds of training rows."""


def evaluate(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Run directory, checkpoint folder, or model name.")],
    recipe: Annotated[
        list[str] | None, typer.Argument(help="YAML file (default: the run's own), then path=value.")
    ] = None,
    task: Annotated[str, typer.Option(help="Measure on held-out rows of this reasoning-gym task.")] = "",
    data: Annotated[str, typer.Option(help="Measure on a file, or on a data set of the hub.")] = "",
    judge: Annotated[
        str, typer.Option(help="Judge: reasoning_gym, math, exact, a judge part, or file.py:function.")
    ] = "",
    size: Annotated[int | None, typer.Option(min=1, help="How many rows.")] = None,
    samples: Annotated[
        int | None, typer.Option("-n", "--samples", min=1, help="Answers to each row.")
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Most tokens of an answer.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature; 0 is greedy.")] = None,
    chat: Annotated[
        bool | None,
        typer.Option(help="Give prompts as user messages; default: as trained, or if it has a template."),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(
            help="System message before prompts of --task or --data; default of --task: as trained."
        ),
    ] = None,
    image_tokens: Annotated[
        str, typer.Option(help="Measure at each of these numbers of visual tokens, with commas.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="JSON file to write the result to.", callback=new_file)
    ] = None,
) -> None:
    """Measure a model: greedy and sampled accuracy, pass@k and maj@k.

    All come with 95 % intervals.

    Example: oneloop eval runs/tiny --task chain_sum --samples 8 --size 100
    """
    if out and data:
        check_apart(out, Path(data))
    folder, beside = locate(model)
    sources, overrides = recipes_and_overrides([*(recipe or []), *context.args])
    if len(sources) > 1:
        raise ValueError(f"eval takes one recipe, got {', '.join(map(str, sources))}")
    source = sources[0] if sources else beside
    if source is None and not (task or data):
        raise ValueError(
            f"say on what to measure '{model}': --task, --data, or a recipe with an `evaluate` section"
        )
    if data and system is None:
        system = ""  # a file may hold system messages of its own
    asking = ColumnOptions(chat=chat or None, system=system or "")
    if task or data:
        asking = manner(chat, system, folder, beside)
    usual = ["evaluate.samples=8"] if task or data else []
    changed = [*on_what(task, data, judge, asking), *usual, *overrides]  # what comes later wins
    given: dict[str, float | None] = {"evaluate.size": size, "evaluate.samples": samples}
    given |= {"max_new_tokens": max_new_tokens, "temperature": temperature}  # of whichever policy it is
    words = [f"{path}={value}" for path, value in given.items() if value is not None]
    loaded = load(source or bare(folder), [*changed, *words])
    counts = numbers(image_tokens, "--image-tokens") if image_tokens else [None]
    found = measure_all(loaded, folder, counts)
    console.print(closing_table(found))
    for values in found:
        if "pass_at" in values:
            console.print(at_k_table(values))
    if out:
        replace_file(out, json.dumps({"model": folder, "measured": found}, indent=1) + "\n")
        say(f"written: {out}")


def on_what(task: str, data: str, judge: str, asking: ColumnOptions) -> list[str]:
    """Recipe overrides equal to `--task`, `--data`, `--judge`, `--chat` and `--system`."""
    if task and data:
        raise ValueError(f"give --task or --data, got both '{task}' and '{data}'")
    words = []
    if task:
        options = {"task": task, "seed": HELD_OUT, "chat": asking.chat, "system": asking.system}
        words.append(f"evaluate.data={json.dumps({'reasoning': options})}")
    if data:
        options = {"path": data, "chat": asking.chat or None, "system": asking.system}
        words.append(f"evaluate.data={json.dumps({'hub': options})}")
    if not words and (asking.chat or asking.system):
        given = "--chat" if asking.chat else "--system"
        raise ValueError(f"{given} is of --task or --data; in a recipe it is an option of the data")
    judge = judge or ("reasoning_gym" if task else "exact" if data else "")
    return [*words, *([f"evaluate.judge=[{json.dumps(judge_of(judge))}]"] if judge else [])]


def judge_of(name: str) -> Any:
    """The judge that `--judge` names: a verifier by its kind, a function by its path, or a part."""
    if name in VERIFIERS:
        return {"verifier": {"by": name}}
    if not name.strip() or not ({":", "."} & set(name) or name in names("judge")):
        raise ValueError(
            f"--judge: no judge is called '{name}'; {nearest(name, [*VERIFIERS, *names('judge')])}"
        )
    return {"function": {"path": name}} if ":" in name else name


def bare(folder: str) -> dict[str, Any]:
    """A recipe that only evaluates, for the model in `folder`, of language or of pictures too."""
    return {
        "policy": {"vision_language" if reads_pictures(folder, None) else "language": {"model": folder}},
        "plan": {"data": {"rows": {"rows": [{"prompt": "", "completion": ""}]}}},
        "sample": "demonstrations",
        "objective": ["supervised"],
    }


def measure_all(recipe: Recipe, folder: str, counts: Sequence[int | None]) -> list[dict[str, Any]]:
    """Measurements, greedy and sampled, at each number of visual tokens (None: the policy's own).

    Raises RecipeError when the recipe has no `evaluate` section.
    """
    spec = recipe.evaluate
    if spec is None:
        raise RecipeError(["recipe.evaluate: is required to evaluate a model without --task or --data"])
    if told := isolation_notice(recipe.evaluation_judges):
        say(told)
    policy = recipe.policy.open(folder)
    judging, found = Judging(scorers(recipe.evaluation_judges)), []
    for count in counts:
        by = {} if count is None else {"image_tokens": count}
        about = folder if count is None else f"{folder}, {count} visual tokens"
        with shown_by(policy, count):
            for mode in ("greedy", "sampled"):
                values = measured(policy, judging, spec.asked, spec.size, spec.samples, recipe.seed, mode)
                found.append({"when": "", "phase": about, "step": 0, **by, **values})
    return found


def at_k_table(values: dict[str, Any]) -> Table:
    """pass@k and maj@k of one evaluation."""
    shown = f", {values['image_tokens']} visual tokens" if "image_tokens" in values else ""
    title = f"of k sampled answers{shown} (95 % bootstrap intervals over rows)"
    drawn = Table(title=title, title_justify="left")
    drawn.add_column("k", justify="right")
    kinds = [("pass_at", "one is right (pass@k)"), ("maj_at", "most agree on a right one (maj@k)")]
    kinds = [(key, title) for key, title in kinds if key in values]
    for _, title in kinds:
        drawn.add_column(title, justify="right")
    for k in values["pass_at"]:
        cells = ("{:.1f} % ({:.1f} to {:.1f})".format(*(100 * x for x in values[key][k])) for key, _ in kinds)
        drawn.add_row(k, *cells)
    return drawn
