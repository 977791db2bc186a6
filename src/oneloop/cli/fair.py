"""`oneloop fair`: decide on the people of a table, round by round, under auditors of fairness.

    options.json   metrics.jsonl (a line a round)   state-N/ (what a resumed run needs)   fair.html

A run that was killed goes on with --resume to the same bits: what came after the last saved state is played
again.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from oneloop.cli.counted import counted
from oneloop.cli.fair_state import claim_directory, line, restored, save
from oneloop.cli.options import fields_of
from oneloop.cli.terminal import console
from oneloop.cli.written import new_folder
from oneloop.core import storage
from oneloop.core.rooms import nearest
from oneloop.fair import bounds, play
from oneloop.fair.costs import Flags
from oneloop.fair.exp2 import Exp2, theory_rate
from oneloop.fair.hindsight import best_fair_in_hindsight, rule_errors
from oneloop.fair.oracles import EnumeratedOracle
from oneloop.fair.panel import AuditorPanel, Floats, WeightedDistance
from oneloop.fair.people import People, random_auditors, read_people
from oneloop.fair.rules import LinearRules, greedy_separator, random_linear_rules
from oneloop.fair.semi_bandit_ftpl import SemiBanditFtpl
from oneloop.report.fair_page import Accounts, write_fair_page
from oneloop.run.directories import RUNS
from oneloop.run.lock import Lock

Learner = Literal["exp2", "ftpl"]

SEPARATED_ON = 1000
"""People used to search for the separator of FTPL."""


class FairError(ValueError):
    """The options cannot be played; the message says why."""


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """Options of one stream; a run is continued only with the same."""

    table: Annotated[Path, typer.Argument(help="CSV with a header and a row for each person.")]
    label: Annotated[str, typer.Option(help="Column of labels, 1 good, 0 bad; seen if accepted.")]
    features: Annotated[str, typer.Option(help="Columns used as features, a,b,c; default: all others.")] = ""
    people: Annotated[int, typer.Option(min=1, help="People in each round.")] = 4
    rounds: Annotated[
        int, typer.Option(min=0, help="Rounds of people drawn at random; 0 plays the file in its order.")
    ] = 0
    learner: Annotated[Learner, typer.Option(help="Learning algorithm.")] = "exp2"
    rules: Annotated[int, typer.Option(help="Random linear rules to learn among.")] = 300
    penalty: Annotated[
        float, typer.Option(help="Cost C of unfairness; below 0: as the paper sets it.")
    ] = -1.0
    learning_rate: Annotated[float, typer.Option(help="Learning rate of Exp2; 0: that of the theory.")] = 0.05
    noise: Annotated[float, typer.Option(help="Rate of the Laplace noise of FTPL.")] = 0.1
    estimator: Annotated[
        str, typer.Option(help="Probability of being seen: known, or importance (estimated).")
    ] = "known"
    auditor: Annotated[
        list[str] | None, typer.Option(help="Weights of a distance, e.g. age=2,priors=1; repeatable.")
    ] = None
    auditors: Annotated[int, typer.Option(min=1, help="Random auditors where none is given.")] = 5
    alpha: Annotated[float, typer.Option(help="How far unequal treatment may exceed the distance.")] = 0.1
    gamma: Annotated[float, typer.Option(help="Share of the auditors who must object.")] = 0.5
    seed: Annotated[int, typer.Option(help="Seed of people, rules, auditors and draws.")] = 0


@fields_of(StreamOptions)
def fair(
    make: Callable[..., StreamOptions],
    run: Annotated[
        Path, typer.Option(help="Directory for metrics.jsonl, state and the page.", callback=new_folder)
    ] = RUNS / "fair",
    save_every: Annotated[int, typer.Option(min=1, help="Rounds between saved states.")] = 500,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --run.")] = False,
) -> None:
    """Decide on people whose label is seen only if accepted, fairly.

    Auditors say when two alike people are treated differently, and accounts are kept.

    Example: oneloop fair people.csv --label repaid --auditor income=2,age=0 --rounds 4000
    """
    play_table(make(), run, save_every, resume, console)


class ApplicantStream:
    """The objects that the options name. Raises FairError, PeopleError or ValueError naming what is wrong."""

    def __init__(self, asked: StreamOptions):
        if asked.learner not in get_args(Learner):
            raise FairError(f"--learner must be {' or '.join(get_args(Learner))}, got '{asked.learner}'")
        features = tuple(name for name in asked.features.split(",") if name)
        crowd = read_people(asked.table, asked.label, features)
        self.asked, k = asked, asked.people
        self.x, self.y = crowd.rounds(asked.rounds, k, asked.seed) if asked.rounds else crowd.in_order(k)
        self.rules: LinearRules = random_linear_rules(crowd.x, asked.rules, asked.seed)
        self.panel = AuditorPanel(auditors_of(asked, crowd), alpha=asked.alpha, gamma=asked.gamma)
        rounds = len(self.x)
        self.penalty = asked.penalty if asked.penalty >= 0 else bounds.default_penalty(asked.learner, rounds)
        self.rate = asked.learning_rate or theory_rate(asked.rules, rounds, k, self.penalty)
        self.learner: play.OneSidedLearner
        options: dict[str, Any] = {"penalty": self.penalty, "estimator": asked.estimator, "seed": asked.seed}
        if asked.learner == "exp2":
            self.learner = Exp2(self.rules, learning_rate=self.rate, **options)
        else:
            pool = crowd.x[:SEPARATED_ON]
            oracle = EnumeratedOracle(self.rules, pool[greedy_separator(self.rules, pool)], pool)
            self.learner = SemiBanditFtpl(oracle, noise=asked.noise, **options)

    def decisions(self) -> Flags:
        """bool [N, T, k], decisions of each of N rules on k people in each of T rounds."""
        flat = self.rules.predict(self.x.reshape(-1, self.x.shape[2]))
        return flat.reshape(len(self.rules), *self.y.shape)

    def cost_bound(self, rounds: float) -> float:
        """Bound on the regret in costs after `rounds`; infinite for FTPL, whose constants the paper does not
        give.
        """
        if self.asked.learner == "ftpl":
            return float("inf")
        return bounds.exp2_cost_bound(len(self.rules), rounds, self.asked.people, self.penalty, self.rate)


def auditors_of(asked: StreamOptions, crowd: People) -> list[WeightedDistance]:
    """The auditors that the options give, or random ones."""
    if not asked.auditor:
        return random_auditors(len(crowd.names), asked.auditors, asked.seed)
    return [WeightedDistance(weights_of(words, crowd.names)) for words in asked.auditor]


def weights_of(words: str, names: tuple[str, ...]) -> Floats:
    """[d] of `name=weight,...`; features that are not named weigh 0. Raises FairError for other words."""
    weights = np.zeros(len(names))
    for word in words.split(","):
        name, _, number = word.rpartition("=")  # a feature's own name may hold a =
        if name not in names:
            raise FairError(f"--auditor: no feature is called '{name or word}'; {nearest(name, list(names))}")
        try:
            weights[names.index(name)] = float(number)
        except ValueError:
            raise FairError(f"--auditor: the weight of '{name}' must be a number, got '{number}'") from None
    return weights


def play_table(
    asked: StreamOptions, directory: Path, save_every: int, resume: bool, shown: Console
) -> Accounts:
    """Plays (or goes on with) the stream in `directory`, prints its accounts and writes the page.

    Raises FileExistsError when the directory holds a run and `resume` is off, or another run; InUse while
    another process writes there.
    """
    stream = ApplicantStream(asked)
    lock = Lock(directory, lambda text: shown.print(text, markup=False, highlight=False))
    try:
        claim_directory(directory, asdict(asked), resume)
        return _play(stream, directory, save_every, shown)
    finally:
        lock.release()


def _play(stream: ApplicantStream, directory: Path, save_every: int, shown: Console) -> Accounts:
    storage.sweep(directory)
    metrics = directory / "metrics.jsonl"
    rounds = restored(directory, stream.learner)
    storage.replace_file(metrics, "".join(line(each) for each in rounds))
    with (
        counted(shown, "rounds", len(stream.x), len(rounds)) as count,
        metrics.open("a", encoding="utf-8") as file,
    ):
        for each in play.play(stream.learner, stream.panel, stream.x, stream.y, start=len(rounds)):
            rounds.append(each)
            file.write(line(each))
            count(len(rounds), "")
            if len(rounds) % save_every == 0 or len(rounds) == len(stream.x):
                file.flush()
                save(directory, len(rounds), stream.learner)
    accounts = account(stream, rounds)
    shown.print(f"{accounts.title}: {accounts.about}", markup=False, highlight=False)
    shown.print(table(accounts))
    page = write_fair_page(directory / "fair.html", accounts, rounds)
    shown.print(f"{len(rounds)} rounds: {metrics}\npage: {page}", markup=False, highlight=False)
    return accounts


def account(stream: ApplicantStream, rounds: list[play.Round]) -> Accounts:
    """The measured totals, those of the best fair policy in hindsight, and the bounds of the theory."""
    asked, decisions = stream.asked, stream.decisions()
    distance = np.stack([stream.panel.effective_distance(people) for people in stream.x])
    optimum = {
        alpha: best_fair_in_hindsight(decisions, stream.y, distance, alpha).error
        for alpha in (asked.alpha, asked.alpha / 2)
    }
    return Accounts(
        title=asked.table.name,
        about=f"{asked.learner}, C = {stream.penalty:.3g}, {len(stream.rules)} rules, "
        f"{len(stream.panel.auditors)} auditors, alpha {asked.alpha:g}, gamma {asked.gamma:g}",
        people=asked.people,
        alpha=asked.alpha,
        measured=play.summary(rounds) | {"rounds": float(len(rounds))},
        best_rule=float(rule_errors(decisions, stream.y).min()),
        best_fair=optimum[asked.alpha],
        stricter=optimum[asked.alpha / 2],
        penalty=stream.penalty,
        cost_bound=stream.cost_bound,
    )


def table(accounts: Accounts) -> Table:
    """The accounts as a table for the terminal."""
    made = Table("", "measured", "bound", box=None, header_style="bold", pad_edge=False)
    for row in accounts.rows():
        made.add_row(*row)
    return made
