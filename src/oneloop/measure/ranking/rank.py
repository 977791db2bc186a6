"""Ranks the models of a pool (ONEBench, arXiv 2412.06745): one call, six methods, one kind of result.

    bradley_terry    the paper's aggregation: ordinal, every pair of a sample's measurements, ties count
    plackett_luce    the same random utility model on whole orders
    elo, borda       order-dependent ratings; number of pair wins
    mean, macro_mean what leaderboards print; needs scores on one scale, and values missing at random

A pool in pieces that share no comparison is refused, or ranked piece by piece when asked, never silently.
"""

import warnings
from typing import Any, Literal, get_args

import numpy as np
from scipy.stats import norm

from oneloop.core import draws
from oneloop.measure.ranking import bradley_terry, means, plackett_luce
from oneloop.measure.ranking.connected import Connectivity, connectivity
from oneloop.measure.ranking.elo import elo, shuffled_games
from oneloop.measure.ranking.errors import cluster_covariance
from oneloop.measure.ranking.newton import Fit, maximise
from oneloop.measure.ranking.pool import Floats, Integers, RankingError, SamplePool
from oneloop.measure.ranking.ranking import Method, Ranking, ordered
from oneloop.measure.ranking.select import only_models
from oneloop.measure.ranking.wins import WinCounts, count

LIKELIHOOD = ("bradley_terry", "plackett_luce")
Errors = Literal["cluster", "information", "none"]


def rank(
    pool: SamplePool,
    method: Method = "bradley_terry",
    *,
    tie_weight: float = 1.0,
    prior_precision: float = 1e-2,
    tie_tolerance: float = 0.0,
    disconnected: Literal["refuse", "separate"] = "refuse",
    errors: Errors = "cluster",
    bootstrap: int = 0,
    seed: int = 0,
) -> Ranking:
    """The ranking of all measured models.

    `tie_weight`: wins a tie gives to both sides (1: the paper's code; 1/2: one game shared).
    `prior_precision`: lambda of the Gaussian prior; 0 is exact maximum likelihood. `tie_tolerance`: scores
    of a sample this close are ties. `errors`: cluster (samples are the unit), information (pairs are; too
    narrow), none. `bootstrap`: so many resamples of the samples instead, as standard errors and percentile
    intervals. `seed`: of resamples and of Elo's order. Raises RankingError for an empty or disconnected
    pool, for infinite scores (prior 0), and bad options.
    """
    _check(pool, method, tie_weight, prior_precision, bootstrap)
    pool, measurements, unmeasured = _measured(pool)
    counts = count(pool, tie_tolerance)
    linked = connectivity(counts.win_matrix(max(tie_weight, 1e-9)))
    notes = _joint(pool, linked, method, disconnected)
    if method in LIKELIHOOD and prior_precision == 0:
        _finite(pool, counts.win_matrix(tie_weight))
    options = (method, tie_weight, prior_precision, tie_tolerance, seed)
    scores, covariance, stderr, fit = _scores(pool, counts, linked.component, options, errors)
    low, high = (scores + sign * norm.ppf(0.975) * stderr for sign in (-1, 1))
    if bootstrap:
        covariance, stderr, low, high = _bootstrap(pool, linked.component, options, bootstrap)
    names = [tuple(pool.models[i] for i in some) for some in (linked.unbeaten, linked.winless)]
    values = {"scores": scores, "stderr": stderr, "low": low, "high": high, "component": linked.component}
    values |= {"covariance": covariance, "count": measurements, "win_rate": counts.win_rate}
    about: dict[str, Any] = {"unbeaten": names[0], "winless": names[1], "unmeasured": unmeasured}
    if fit is not None:
        about |= {"steps": fit.steps, "converged": fit.converged, "log_likelihood": fit.log_likelihood}
    return ordered(method, pool.models, values, notes=(*notes, *_remarks(names, unmeasured, fit)), **about)


def _check(pool: SamplePool, method: str, tie_weight: float, precision: float, bootstrap: int) -> None:
    if method not in get_args(Method):
        raise RankingError(f"method: must be one of {', '.join(get_args(Method))}, got '{method}'")
    for name, value in (("tie_weight", tie_weight), ("prior_precision", precision), ("bootstrap", bootstrap)):
        if not 0 <= value < np.inf:
            raise RankingError(f"{name}: must be at least 0 and finite, got {value}")
    if bootstrap == 1 or (bootstrap and method == "elo"):
        raise RankingError(
            f"bootstrap: needs 2 resamples or more and a method other than elo, got {bootstrap}, {method}"
        )
    if bootstrap and method in LIKELIHOOD and precision == 0:
        raise RankingError(
            "bootstrap: needs prior_precision above 0, because resamples may leave a model unbeaten"
        )
    if not len(pool.value) and not len(pool.preferences):
        raise RankingError(f"nothing to rank: {pool!r} has no measurement")


def _measured(pool: SamplePool) -> tuple[SamplePool, Integers, tuple[str, ...]]:
    """The pool without models that nothing was measured of, measurements of each left, and those."""
    measurements = pool.count
    known = measurements > 0
    if known.all():
        return pool, measurements, ()
    unmeasured = tuple(name for name, has in zip(pool.models, known, strict=True) if not has)
    warnings.warn(f"not ranked, because nothing was measured: {_some(unmeasured)}", stacklevel=3)
    return only_models(pool, known), measurements[known], unmeasured


def _joint(pool: SamplePool, linked: Connectivity, method: Method, disconnected: str) -> list[str]:
    """Sentences about components. Raises RankingError for several and a method that compares models."""
    if linked.components <= 1:
        return []
    groups = [np.array(pool.models)[linked.component == c].tolist() for c in range(linked.components)]
    listed = "; ".join(_some(group) for group in groups[:4]) + ("; ..." if len(groups) > 4 else "")
    what = f"{linked.components} groups of models share no comparison: {listed}"
    if disconnected == "separate":
        return [f"{what}. Each is ranked by itself; scores of different groups cannot be compared."]
    if method in ("mean", "macro_mean"):
        linked.component[:] = 0
        return [f"{what}. Their means are of different samples."]
    raise RankingError(
        f"{what}. A joint ranking would be invented: measure a model in several of them, or rank each by "
        "itself (disconnected='separate')"
    )


def _finite(pool: SamplePool, wins: Floats) -> None:
    """Raises RankingError naming the models whose maximum-likelihood scores are infinite."""
    linked = connectivity(wins)
    if linked.split:
        names = _some([pool.models[i] for i in linked.split])
        raise RankingError(
            f"no finite maximum: {names} never lose to the others; set prior_precision above 0 (default 0.01)"
        )


Options = tuple[Method, float, float, float, int]


def _scores(
    pool: SamplePool, counts: WinCounts, component: Integers, options: Options, errors: Errors
) -> tuple[Floats, Floats | None, Floats, Fit | None]:
    """(scores [m], covariance [m, m], standard errors [m], fit), as far as the method gives them."""
    method, tie_weight, precision, tie_tolerance, seed = options
    nothing = np.full(len(pool.models), np.nan)
    if method == "elo":
        return elo(shuffled_games(pool, seed, tie_tolerance), len(pool.models)), None, nothing, None
    if method == "borda":
        return counts.wins.sum(axis=1), None, nothing, None
    if method in ("mean", "macro_mean"):
        middle, error = (means.mean if method == "mean" else means.macro_mean)(pool)
        if np.isnan(middle).any():
            names = _some([pool.models[i] for i in np.flatnonzero(np.isnan(middle))])
            raise RankingError(f"{method}: {names} have preferences only, which have no score to average")
        return middle, None, error, None
    if method == "bradley_terry":
        objective = bradley_terry.bradley_terry(counts.win_matrix(tie_weight))
    else:
        objective = plackett_luce.plackett_luce(pool, tie_weight, tie_tolerance)
    fit = maximise(objective, component, precision)
    if errors == "none":
        return fit.theta, None, nothing, fit
    covariance = _covariance(pool, fit, options, errors)
    return fit.theta, covariance, np.sqrt(np.maximum(np.diag(covariance), 0)), fit


def _covariance(pool: SamplePool, fit: Fit, options: Options, errors: Errors) -> Floats:
    """Covariance of the scores, float64 [m, m]."""
    method, tie_weight, _, tie_tolerance, _ = options
    if errors == "information":
        inverse = np.linalg.inv(fit.curvature)
        return np.asarray(inverse @ fit.information @ inverse)
    if method == "bradley_terry":
        of_cells = bradley_terry.scores(pool, fit.theta, tie_weight, tie_tolerance)
    else:
        of_cells = plackett_luce.scores(pool, fit.theta, tie_tolerance)
    of_preferences = bradley_terry.preference_scores(pool.preferences, fit.theta, tie_weight)
    return cluster_covariance(pool, fit.curvature, of_cells, of_preferences)


def _bootstrap(
    pool: SamplePool, component: Integers, options: Options, resamples: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """(covariance [m, m], standard errors, low and high [m]) over resamples of whole samples."""
    n, drawn = len(pool.samples), []
    for number in range(resamples):
        rows = (draws.uniforms(draws.mix(options[4], "bootstrap", number), np.arange(n)) * n).astype(np.int64)
        again = pool.take(rows)
        drawn.append(_lenient(again, component, options))
    table = np.array(drawn)
    low, high = np.nanquantile(table, [0.025, 0.975], axis=0)
    known = np.where(np.isnan(table), np.nanmean(table, axis=0), table)
    covariance = np.cov(known, rowvar=False, ddof=1).reshape(len(component), -1)
    return covariance, np.sqrt(np.diag(covariance)), low, high


def _lenient(pool: SamplePool, component: Integers, options: Options) -> Floats:
    """Scores [m] of a resample; NaN for a mean of nothing."""
    method, _, _, tie_tolerance, _ = options
    if method in ("mean", "macro_mean"):
        return (means.mean if method == "mean" else means.macro_mean)(pool)[0]
    return _scores(pool, count(pool, tie_tolerance), component, options, "none")[0]


def _remarks(names: list[tuple[str, ...]], unmeasured: tuple[str, ...], fit: Fit | None) -> list[str]:
    sentences: list[str] = []
    for models, what in zip(names, ("never lost", "never won"), strict=True):
        if models and fit is not None:
            sentences.append(f"{_some(models)} {what}: only the prior keeps that score finite.")
    if unmeasured:
        sentences.append(f"Not ranked, because nothing was measured: {_some(unmeasured)}.")
    if fit is not None and not fit.converged:
        sentences.append(f"Newton's method did not converge in {fit.steps} steps.")
    return sentences


def _some(names: Any, most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"'{name}'" for name in names[:most]) + more
