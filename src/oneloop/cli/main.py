"""The command line: `oneloop train RECIPE [path=value ...]` and what helps around it.

A command is one file of this folder with one function; `COMMANDS` lists them. A file is imported when its
command is called, so `oneloop --help` loads none of the heavy libraries.

What a user can mend is said in sentences with exit code 2, never as a traceback: errors of oneloop's own
classes, OSError, and a ValueError raised in oneloop's own code (the house rule: ValueError for users, assert
for programmers). Everything else is a bug, here or in a library, and keeps its traceback. Ctrl-C is 130,
SIGTERM 143.
"""

import importlib
import inspect
import os
import re
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from oneloop.cli.interrupts import interrupts_exit
from oneloop.cli.streams import readable
from oneloop.core.destinations import reason
from oneloop.run.terminal import Terminal

TEMPORARY = re.compile(r"\.([^/]+)\.\d+-[0-9a-f]{8}\.\w+$")
"""The name under which oneloop.core.storage writes a file that is not whole yet."""


class Listed(NamedTuple):
    """A command in the list that `oneloop --help` prints."""

    where: str
    """`file:function` of this folder."""
    says: str
    """The first sentence of the function's docstring."""


COMMANDS = {
    "train": Listed("train:train", "Run a recipe: a file, or the name of one that ships."),
    "recipes": Listed(
        "recipes:recipes",
        "List the recipes that ship, with a sentence each and what they need that is not here.",
    ),
    "copy": Listed("copy:copy", "Copy a recipe that ships to a file of your own, to edit it."),
    "fetch": Listed(
        "fetch:fetch", "Get the model of the recipe quickstart, or the fonts of handwriting recipes."
    ),
    "parts": Listed("parts:parts", "List what a recipe can name: kinds of part, parts, and their options."),
    "eval": Listed("evaluate:evaluate", "Measure a model: greedy and sampled accuracy, pass@k and maj@k."),
    "sample": Listed("sample:sample", "Print completions of a prompt."),
    "cut": Listed("cut:cut", "Cut the subnet that fits a budget out of a run, as an ordinary model folder."),
    "report": Listed("report:report", "Write the HTML report of a run again."),
    "compare": Listed("compare:compare", "Run recipes over the same seeds at an equal budget."),
    "list": Listed("methods:methods", "List papers, their recipes, and what their claims measured."),
    "rank": Listed("rank:rank_models", "Rank models from scores and preferences on single samples."),
    "fair": Listed("fair:fair", "Decide on people whose label is seen only if accepted, fairly."),
    "mass-balance": Listed("mass_balance:mass_balance", "Simulate where probability goes with N rollouts."),
    "compress": Listed(
        "compress:compress", "Compress pictures to a file of tokens, any beginning of which decodes."
    ),
    "decompress": Listed("decompress:decompress", "Turn a file of tokens back into pictures."),
    "tokens": Listed(
        "tokens:tokens",
        "Write a page on an image tokenizer: pictures at every length, bytes against quality.",
    ),
    "fit": Listed(
        "fit:fit",
        "Train a reader of words, or a classifier of hands, on fonts, as a judge of handwriting.",
    ),
    "write": Listed("write:write", "Write a text in the hand of a picture of one word."),
    "hands": Listed("hands:hands", "Write a page on a handwriting model: words by writer, as they are read."),
    "plan": Listed("plan:plan", "Plan where the tensors of a model live on many ranks."),
    "token-sweep": Listed("token_sweep:sweep", "Measure a model at several numbers of visual tokens."),
    "schema": Listed("schema:schema", "Print the JSON schema of recipes."),
    "env": Listed("env:env", "Print versions and hardware, for bug reports."),
}


def command(name: str) -> TyperCommand:
    """The command called `name`, its file imported.

    A function that takes the context gets the words the command does not know: options of a recipe.
    """
    file, _, function = COMMANDS[name].where.partition(":")
    does = getattr(importlib.import_module(f"oneloop.cli.{file}"), function)
    takes_all = "context" in inspect.signature(does).parameters
    settings = {"allow_extra_args": True, "ignore_unknown_options": True} if takes_all else {}
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    alone.command(name, context_settings=settings)(does)
    made = typer.main.get_command(alone)
    assert isinstance(made, TyperCommand)
    return made


class Later(TyperCommand):
    """A command of the list, whose file is imported when it is called."""

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        """The context of the command itself."""
        return command(str(self.name)).make_context(info_name, args, parent, **extra)


class Commands(TyperGroup):
    """The group of `COMMANDS`."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.commands = {name: Later(name, help=listed.says) for name, listed in COMMANDS.items()}


app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False)


def _version(wanted: bool) -> None:
    if wanted:
        from oneloop import __version__

        print(f"oneloop {__version__}")
        raise typer.Exit


@app.callback()
def oneloop(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train generative models from sampled experience: one loop, five stages, methods as recipes."""


def user_fault(error: BaseException) -> list[str]:
    """Sentences for what a user can mend; [] for a bug."""
    ours = type(error).__module__.startswith("oneloop.")
    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    raised_here = isinstance(error, ValueError) and bool(frames) and frames[-1].startswith("oneloop.")
    if not (ours or raised_here or isinstance(error, OSError)):
        return []
    if isinstance(error, OSError) and not ours:
        return [of_the_system(error)]
    return list(getattr(error, "faults", ())) or [str(error)]


def of_the_system(error: OSError) -> str:
    """An error of the operating system as a sentence: the place and what is wrong, without its number."""
    if error.strerror is None or error.filename is None:
        return error.strerror or str(error)
    place = Path(TEMPORARY.sub(r"\1", os.fsdecode(error.filename)))
    files = [folder for folder in place.parents if folder.is_file()]
    if files:
        return f"cannot use {place}: {files[0]} is a file, not a folder"
    return f"cannot use {str(place)!r:.300}: {reason(error)}"


def main() -> Any:
    """Entry point."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with interrupts_exit(), readable():
        try:
            return app(prog_name="oneloop")
        except Exception as error:
            sentences = user_fault(error)
            if not sentences:
                raise
            shown = Terminal(stderr=True, soft_wrap=True, highlight=False)
            if len(sentences) > 1:
                sentences = [f"{len(sentences)} faults", *(f"  {sentence}" for sentence in sentences)]
            shown.print("[bold red]error[/]: ", end="")
            shown.print("\n".join(sentences), markup=False)
            sys.exit(2)
