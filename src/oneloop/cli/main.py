"""The command line: `oneloop train RECIPE [path=value ...]` and what helps around it.

What a user can mend is said in sentences with exit code 2, never as a traceback: errors of oneloop's own
classes, OSError, and a ValueError raised in oneloop's own code (the house rule: ValueError for users, assert
for programmers). Everything else is a bug, here or in a library, and keeps its traceback. Ctrl-C is 130.
"""

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

app = typer.Typer(
    help="Train generative models from sampled experience: one loop, five stages, methods as recipes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(width=None if sys.stdout.isatty() else 120)
Overrides = Annotated[list[str] | None, typer.Argument(help="path=value, e.g. learner.learning_rate=1e-4")]
Recipe = Annotated[Path, typer.Argument(help="YAML file")]
EXTRA = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command(context_settings=EXTRA)
def train(
    context: typer.Context,
    recipe: Recipe,
    overrides: Overrides = None,
    run: Annotated[
        Path | None, typer.Option(help="Run directory; default runs/<recipe>, then -2 ...")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --run, or the newest.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Overrides the recipe's seed.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check, resolve, estimate memory.")] = False,
) -> None:
    """Run a recipe. Options of other trainers (num_generations, beta ...) are taken and explained.

    Example: oneloop train quickstart learner.learning_rate=1e-3 --seed 1
    """
    from oneloop.cli.commands import train_recipe

    given = [*(overrides or []), *context.args, *([f"seed={seed}"] if seed is not None else [])]
    train_recipe(recipe, given, run, resume, dry_run, console)


@app.command("eval", context_settings=EXTRA)
def evaluate(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Run directory, checkpoint folder, or model name")],
    recipe: Annotated[
        list[str] | None, typer.Argument(help="YAML file (default: the run's own), then path=value")
    ] = None,
    task: Annotated[str, typer.Option(help="Any reasoning-gym task, on held-out rows.")] = "",
    data: Annotated[str, typer.Option(help="A file or a data set of the hub.")] = "",
    judge: Annotated[
        str, typer.Option(help="reasoning_gym, math, exact, a part, or a function, file.py:name.")
    ] = "",
    size: Annotated[int | None, typer.Option(min=1, help="Rows.")] = None,
    samples: Annotated[int | None, typer.Option("-n", "--samples", min=1, help="Answers a row.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Longest answer.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of sampled answers.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write it here, as JSON.")] = None,
) -> None:
    """Measure a model: greedy and sampled accuracy, pass@k and maj@k, with intervals.

    Example: oneloop eval runs/quickstart --task chain_sum --samples 8 --size 100
    """
    from oneloop.cli.commands import recipes_and_overrides
    from oneloop.cli.evaluate import Asked, evaluate_model

    sources, overrides = recipes_and_overrides([*(recipe or []), *context.args])
    asked = Asked(task, data, judge, size, samples, max_new_tokens, temperature, out)
    evaluate_model(model, sources, overrides, asked, console)


@app.command()
def sample(
    model: Annotated[str, typer.Argument(help="Run directory, checkpoint folder, or model name")],
    prompt: Annotated[str, typer.Option(help="What the model continues.")],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Completions.")] = 1,
    max_new_tokens: Annotated[int, typer.Option(help="Longest completion.")] = 256,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Sample from this much probability.")] = 1.0,
    chat: Annotated[bool, typer.Option("--chat", help="The prompt is a user's message.")] = False,
    seed: Annotated[int, typer.Option(help="Another seed, other completions.")] = 0,
) -> None:
    """Print completions of a prompt.

    Example: oneloop sample runs/quickstart --prompt "12 + 30 =" -n 4 --max-new-tokens 16
    """
    from oneloop.cli.commands import sample_model

    options = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p}
    sample_model(model, prompt, count, options, chat, seed, console)


@app.command(context_settings=EXTRA)
def compare(
    context: typer.Context,
    recipes: Annotated[list[str], typer.Argument(help="YAML files, then path=value for all of them")],
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each recipe.")] = 3,
    budget: Annotated[
        float | None, typer.Option(help="What the last phase of each run may spend, e.g. 2e6.")
    ] = None,
    of: Annotated[
        str, typer.Option(help="sampled_tokens, trained_tokens, network_evaluations, flops, seconds.")
    ] = "sampled_tokens",
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Accuracy whose cost is looked for, e.g. 0.5.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Directory; finished runs in it are not repeated.")] = None,
) -> None:
    """Run recipes over the same seeds at an equal budget; differences with intervals, one HTML page.

    Example: oneloop compare sft dft otr --seeds 5 steps=50
    """
    from oneloop.cli.commands import compare_recipes
    from oneloop.run.compare import asked_for

    asked = asked_for(seeds, budget, of, threshold)
    compare_recipes([*recipes, *context.args], asked, run, console)


@app.command()
def report(run: Annotated[Path, typer.Argument(help="Run directory")]) -> None:
    """Write the HTML report of a run again.

    Example: oneloop report runs/quickstart
    """
    from oneloop.report import write_report

    console.print(f"report: {write_report(run)}", markup=False, highlight=False)


@app.command("list")
def list_methods(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a paper.")] = False,
) -> None:
    """Papers, their recipes, and what their claims measured.

    Example: oneloop list --json
    """
    from oneloop.cli.commands import show_methods

    show_methods(as_json, console)


@app.command("rank")
def rank_models(
    files: Annotated[list[Path], typer.Argument(help="Tables, logs or run directories")],
    format: Annotated[
        str, typer.Option(help="long, wide, arena, alpaca, lm_eval, inspect, rollouts; default: found out.")
    ] = "",
    method: Annotated[
        str, typer.Option(help="bradley_terry, plackett_luce, elo, borda, mean, macro_mean.")
    ] = "bradley_terry",
    query: Annotated[str, typer.Option(help="Rank on the samples nearest to these words.")] = "",
    answer: Annotated[str, typer.Option(help="Of these, on those whose answers are near to these.")] = "",
    where: Annotated[
        list[str] | None, typer.Option(help="Filter, e.g. 'subject=physics'; repeatable.")
    ] = None,
    top_k: Annotated[int, typer.Option(help="Samples a query retrieves at most.")] = 100,
    threshold: Annotated[float, typer.Option(help="Least similarity to the query.")] = 0.0,
    encoder: Annotated[str, typer.Option(help="sentence-transformers model or folder; default TF-IDF.")] = "",
    informative: Annotated[int, typer.Option(help="Rank on so many samples that tell most.")] = 0,
    metric: Annotated[str, typer.Option(help="Metric, scorer or column of logs; default the first.")] = "",
    column: Annotated[list[str] | None, typer.Option(help="What a table calls it, e.g. score=acc.")] = None,
    lower_is_better: Annotated[list[str] | None, typer.Option(help="Source to turn around.")] = None,
    conflict: Annotated[str, typer.Option(help="Two scores of one cell: error, first, mean.")] = "error",
    tie_weight: Annotated[float, typer.Option(help="Wins a tie gives to each side.")] = 1.0,
    tie_tolerance: Annotated[float, typer.Option(help="Scores of a sample this close are ties.")] = 0.0,
    prior: Annotated[float, typer.Option(help="Precision of the Gaussian prior; 0: none.")] = 1e-2,
    separate: Annotated[
        bool, typer.Option("--separate", help="Rank groups without common samples apart.")
    ] = False,
    bootstrap: Annotated[int, typer.Option(help="Resamples for intervals; 0: cluster-robust.")] = 0,
    seed: Annotated[int, typer.Option(help="Of resamples, draws and Elo's order.")] = 0,
    out: Annotated[list[Path] | None, typer.Option(help="File to write: .html, .csv or .json.")] = None,
) -> None:
    """Rank models from scores and preferences on single samples, most of which may be missing.

    Example: oneloop rank scores.csv --query "long division" --out ranking.html
    """
    from oneloop.cli.rank import Asked, named_columns, rank_files
    from oneloop.measure.ranking.readers import Reading

    options = {
        "method": method,
        "tie_weight": tie_weight,
        "tie_tolerance": tie_tolerance,
        "prior_precision": prior,
        "disconnected": "separate" if separate else "refuse",
        "bootstrap": bootstrap,
        "seed": seed,
    }
    how = Reading(named_columns(column or []), metric, tuple(lower_is_better or ()), conflict)  # type: ignore[arg-type]
    samples = Asked(
        tuple(where or ()), query, answer, top_k, threshold, encoder, informative, tuple(out or ())
    )
    rank_files(files, format, how, samples, options, console)


@app.command("fair")
def play_fair(
    table: Annotated[Path, typer.Argument(help="CSV with a header: a row a person")],
    label: Annotated[str, typer.Option(help="Column of what is seen of the accepted: 1 good, 0 bad.")],
    features: Annotated[str, typer.Option(help="Columns to decide by, a,b,c; default all others.")] = "",
    people: Annotated[int, typer.Option(min=1, help="People a round.")] = 4,
    rounds: Annotated[
        int, typer.Option(min=0, help="Rounds, people drawn anew; 0: the file in its order.")
    ] = 0,
    learner: Annotated[str, typer.Option(help="exp2 or ftpl.")] = "exp2",
    rules: Annotated[int, typer.Option(help="Random linear rules in the class.")] = 300,
    penalty: Annotated[float, typer.Option(help="C; below 0: as the paper sets it.")] = -1.0,
    learning_rate: Annotated[float, typer.Option(help="Exp2's; 0: that of the theory.")] = 0.05,
    noise: Annotated[float, typer.Option(help="Rate of FTPL's Laplace noise.")] = 0.1,
    estimator: Annotated[str, typer.Option(help="known or importance.")] = "known",
    auditor: Annotated[
        list[str] | None, typer.Option(help="Weights of a distance, e.g. age=2,priors=1; repeatable.")
    ] = None,
    auditors: Annotated[int, typer.Option(min=1, help="Random auditors where none is given.")] = 5,
    alpha: Annotated[float, typer.Option(help="By how much a gap may exceed the distance.")] = 0.1,
    gamma: Annotated[float, typer.Option(help="Share of auditors who must object.")] = 0.5,
    seed: Annotated[int, typer.Option(help="Of people, rules, auditors and draws.")] = 0,
    run: Annotated[Path, typer.Option(help="Directory for metrics.jsonl, state and the page.")] = Path(
        "runs/fair"
    ),
    save_every: Annotated[int, typer.Option(min=1, help="Rounds between saved states.")] = 500,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --run.")] = False,
) -> None:
    """Decide on people whose label is seen only if accepted, with auditors of fairness, and keep accounts.

    Example: oneloop fair people.csv --label repaid --auditor income=2,age=0 --rounds 4000
    """
    from oneloop.cli.fair import Asked, play_table

    asked = Asked(
        table=str(table),
        label=label,
        features=tuple(name for name in features.split(",") if name),
        people=people,
        rounds=rounds,
        learner=learner,
        rules=rules,
        penalty=penalty,
        learning_rate=learning_rate,
        noise=noise,
        estimator=estimator,
        auditor=tuple(auditor or ()),
        auditors=auditors,
        alpha=alpha,
        gamma=gamma,
        seed=seed,
    )
    play_table(asked, run, save_every, resume, console)


@app.command("mass-balance")
def mass_balance(
    rollouts: Annotated[list[int] | None, typer.Option(min=1, help="Rollouts a step; repeatable.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Updates.")] = 1000,
    vocabulary: Annotated[int, typer.Option(help="Tokens.")] = 128_000,
    correct: Annotated[int, typer.Option(help="How many of them are right.")] = 10_000,
    surrogate: Annotated[str, typer.Option(help="linear (the paper's) or logprob (GRPO's).")] = "linear",
    learning_rate: Annotated[float, typer.Option(help="AdamW's.")] = 1e-3,
    weight_decay: Annotated[float, typer.Option(help="AdamW's.")] = 0.01,
    eps: Annotated[float, typer.Option(help="AdamW's.")] = 1e-8,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    out: Annotated[Path, typer.Option(help="Where the figure goes, SVG.")] = Path("mass-balance.svg"),
) -> None:
    """Simulate where probability mass goes with N rollouts a step (BroRL's figure), print and plot it.

    Example: oneloop mass-balance --rollouts 4 --rollouts 512 --steps 200 --vocabulary 20000 --correct 1500
    """
    from oneloop.cli.mass_balance import show_mass_balance

    options = {
        "vocabulary": vocabulary,
        "correct": correct,
        "surrogate": surrogate,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "eps": eps,
        "seed": seed,
    }
    show_mass_balance(rollouts or [4, 8, 16, 512, 51_200], steps, options, out, console)


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes.

    Example: oneloop schema > recipe.schema.json
    """
    from oneloop.recipe.schema import recipe_schema

    print(json.dumps(recipe_schema(), indent=2))


@app.command()
def env() -> None:
    """Print versions and hardware, for bug reports.

    Example: oneloop env
    """
    from oneloop.run.environment import environment

    print(environment())


def user_fault(error: BaseException) -> list[str]:
    """Sentences for what a user can mend; [] for a bug."""
    ours = type(error).__module__.startswith("oneloop.")
    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    raised_here = isinstance(error, ValueError) and bool(frames) and frames[-1].startswith("oneloop.")
    if not (ours or raised_here or isinstance(error, OSError)):
        return []
    return list(getattr(error, "faults", ())) or [str(error)]


def main() -> Any:
    """Entry point."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        return app()
    except Exception as error:
        sentences = user_fault(error)
        if not sentences:
            raise
        shown = Console(stderr=True, soft_wrap=True, highlight=False)
        if len(sentences) > 1:
            sentences = [f"{len(sentences)} faults", *(f"  {sentence}" for sentence in sentences)]
        shown.print("[bold red]error[/]: ", end="")
        shown.print("\n".join(sentences), markup=False)
        sys.exit(2)
