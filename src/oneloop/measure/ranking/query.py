"""A capability in words -> the samples that test it (ONEBench's query), by cosine of embeddings.

    similarity_j = <e(query), e(text_j)> / |e(query)| |e(text_j)|,   the `top_k` best, none below `threshold`

The embedder is injected: any function from texts to vectors. The default, TF-IDF, needs nothing but the pool
and sees words, not meanings; a sentence encoder by name sees meanings. Not here: images.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from oneloop.measure.ranking.pool import Floats, RankingError, SamplePool
from oneloop.measure.ranking.where import fact
from oneloop.measure.text_similarity import TFIDF, Embedder, Similarity
from oneloop.measure.text_similarity import similarity as similarity_by


class Retrieved(NamedTuple):
    """What a query retrieved."""

    pool: SamplePool
    """The samples, the most similar first; perhaps none."""
    similarity: Floats
    """float64 [samples], similarity of each sample to the query."""
    message: str
    """One sentence: how many were found among how many, or why none."""


def query(
    pool: SamplePool,
    text: str,
    *,
    top_k: int = 100,
    threshold: float = 0.0,
    embedder: str | Embedder = TFIDF,
    about: str = "text",
    answer: str = "",
    answers: str = "answer",
) -> Retrieved:
    """The samples most like `text`; with `answer`, only those among the most alike in their answers too.

    `about`, `answers`: the facts that hold questions and answers. `threshold`: samples must be more similar
    than that. `embedder`: tfidf, the name or folder of a sentence encoder, or a function from texts to an
    array [texts, d]. Raises RankingError for bad numbers and where the pool knows no such fact, and
    ValueError for an encoder that cannot be loaded.
    """
    if top_k < 1 or not -1 <= threshold <= 1:
        raise RankingError(
            f"top_k must be at least 1 and threshold from -1 to 1, got {top_k} and {threshold}"
        )
    compare = similarity_by(embedder)
    hits = _nearest(fact(pool, about), text, top_k, threshold, compare)
    if answer:
        too = _nearest(fact(pool, answers), answer, top_k, threshold, compare)
        hits = {row: similarity for row, similarity in hits.items() if row in too}
    rows = np.array(list(hits), dtype=np.int64)
    n = len(pool.samples)
    message = f"{len(rows)} of {n} samples retrieved for '{text}'"
    if not len(rows):
        message = f"no sample of {n} is more similar to '{text}' than {threshold:g}; use other words"
    return Retrieved(pool.take(rows), np.array(list(hits.values())), message)


def _nearest(
    texts: Sequence[Any], wanted: str, top_k: int, threshold: float, compare: Similarity
) -> dict[int, float]:
    """{row: similarity} of the `top_k` texts nearest to `wanted`, nearest first; equals in their order."""
    rows = np.array([row for row, text in enumerate(texts) if text], dtype=np.int64)
    if not len(rows):
        return {}
    (similarity,) = compare([str(texts[row]) for row in rows], [wanted])
    best = np.argsort(-similarity, kind="stable")[:top_k]
    return {int(rows[place]): float(similarity[place]) for place in best if similarity[place] > threshold}
