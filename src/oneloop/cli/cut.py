"""`oneloop cut`: a subnet of a run as a model folder."""

from pathlib import Path
from typing import Annotated

import typer

from oneloop.cli.terminal import say
from oneloop.cli.written import new_folder
from oneloop.run.cutting import CutError, open_supernet


def cut(
    run: Annotated[str, typer.Argument(help="Run directory, or a checkpoint inside one.")],
    flops: Annotated[
        float | None, typer.Option(help="Most FLOPs a token, such as 2e6; default: list what there is.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder to write.", callback=new_folder)
    ] = None,
) -> None:
    """Cut the subnet that fits a budget out of a run, as an ordinary model folder.

    The run's recipe names the subnets (policy.language.elastic). The costliest one within the budget is
    written, without search and without training; `from_pretrained` reads the folder.

    Example: oneloop cut runs/elastic --flops 2e6 -o small
    """
    supernet = open_supernet(run)
    if flops is None:
        if out is not None:
            raise CutError(f"-o {out} was given without --flops: say how many FLOPs a token may take")
        for size, cost in supernet.sizes():
            say(f"{cost:>12,} FLOPs a token: {size}")
        return
    if out is None:
        raise CutError(f"--flops {flops:g} was given without -o: name the folder to write")
    made = supernet.write(flops, out)
    say(f"{out}: {made.size}; {made.flops:,} FLOPs a token, {made.parameters:,} parameters")
