"""`oneloop sample`: completions of a prompt, printed."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from oneloop.cli.chat import manner
from oneloop.cli.terminal import console
from oneloop.run.checkpoint import locate
from oneloop.run.generate import generate, options_of


def sample(
    model: Annotated[str, typer.Argument(help="Run directory, checkpoint folder, or model name.")],
    prompt: Annotated[str, typer.Option(help="Text that the model continues or answers.")],
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many completions.")] = 1,
    max_new_tokens: Annotated[int, typer.Option(help="Most tokens of a completion.")] = 256,
    temperature: Annotated[float, typer.Option(help="Sampling temperature; 0 is greedy.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Probability of the likeliest tokens kept; 1: all.")] = 1.0,
    chat: Annotated[
        bool | None,
        typer.Option(help="Give the prompt as a user message; default: as trained, or if it has a template."),
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="System message before the prompt; default: as trained.")
    ] = None,
    image: Annotated[
        list[Path] | None, typer.Option(help="Picture that the prompt shows; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sampling.")] = 0,
) -> None:
    """Print completions of a prompt.

    Example: oneloop sample runs/tiny --prompt "12 + 30 =" -n 4 --max-new-tokens 16
    """
    options = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p}
    pictures = image or []
    options_of(model, bool(pictures), **options)
    asked = manner(chat, system, *locate(model)).prompt(prompt, "--prompt")
    for number, found in enumerate(generate(model, asked, count, images=pictures, seed=seed, **options), 1):
        ended = "" if found.whole else " (cut off at the limit)"
        console.print(f"[bold]{number}[/]{ended}  {escape(found.text)}", highlight=False)
