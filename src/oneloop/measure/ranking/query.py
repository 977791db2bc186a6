"""A capability in words -> the samples that test it (ONEBench's query), by cosine of embeddings.

    similarity_j = <e(query), e(text_j)> / |e(query)| |e(text_j)|,   the `top_k` best, none below `threshold`

The embedder is injected: any function from texts to vectors. The default, TF-IDF, needs nothing but the pool
and sees words, not meanings; a sentence encoder by name sees meanings. Not here: images.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from oneloop.core.extras import command
from oneloop.measure.ranking.pool import Floats, RankingError, SamplePool
from oneloop.measure.ranking.where import fact

Embed = Callable[[list[str]], Any]
"""Texts -> [texts, d], a numpy array or scipy sparse matrix."""


class Found(NamedTuple):
    """What a query retrieved."""

    pool: SamplePool
    """The samples, the most similar first; perhaps none."""
    similarity: Floats
    """float64 [samples]."""
    message: str
    """One sentence: how many were found among how many, or why none."""


def query(
    pool: SamplePool,
    text: str,
    *,
    top_k: int = 100,
    threshold: float = 0.0,
    embed: Embed | None = None,
    about: str = "text",
    answer: str = "",
    answers: str = "answer",
) -> Found:
    """The samples most like `text`; with `answer`, only those among the most alike in their answers too.

    `about`, `answers`: the facts that hold questions and answers. `threshold`: samples must be more similar
    than that. `embed`: default TF-IDF of the pool's own texts. Raises RankingError for bad numbers and where
    the pool knows no such fact.
    """
    if top_k < 1 or not -1 <= threshold <= 1:
        raise RankingError(
            f"top_k must be at least 1 and threshold from -1 to 1, got {top_k} and {threshold}"
        )
    hits = _nearest(fact(pool, about), text, top_k, threshold, embed)
    if answer:
        too = _nearest(fact(pool, answers), answer, top_k, threshold, embed)
        hits = {row: similarity for row, similarity in hits.items() if row in too}
    rows = np.array(list(hits), dtype=np.int64)
    n = len(pool.samples)
    message = f"{len(rows)} of {n} samples retrieved for '{text}'"
    if not len(rows):
        message = f"no sample of {n} is more similar to '{text}' than {threshold:g}; use other words"
    return Found(pool.take(rows), np.array(list(hits.values())), message)


def _nearest(
    texts: Sequence[Any], wanted: str, top_k: int, threshold: float, embed: Embed | None
) -> dict[int, float]:
    """{row: similarity} of the `top_k` texts nearest to `wanted`, nearest first; equals in their order."""
    rows = np.array([row for row, text in enumerate(texts) if text], dtype=np.int64)
    if not len(rows):
        return {}
    known = [str(texts[row]) for row in rows]
    embed = embed or tf_idf(known)
    vectors, target = _unit(embed(known)), _unit(embed([wanted]))
    similarity = vectors @ target.T
    flat = np.asarray(similarity.todense() if hasattr(similarity, "todense") else similarity).ravel()
    best = np.argsort(-flat, kind="stable")[:top_k]
    return {int(rows[place]): float(flat[place]) for place in best if flat[place] > threshold}


def _unit(vectors: Any) -> Any:
    """Rows of length 1; a row of zeros stays."""
    from sklearn.preprocessing import normalize

    return normalize(vectors if hasattr(vectors, "tocsr") else np.asarray(vectors, dtype=np.float64))


def tf_idf(texts: list[str]) -> Embed:
    """An embedder of words and pairs of words, weighted by how rare they are in `texts`."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), stop_words="english")
    try:
        vectorizer.fit(texts)
    except ValueError:  # nothing but stop words
        vectorizer.set_params(stop_words=None, token_pattern=r"(?u)\S+").fit(texts)
    return lambda some: vectorizer.transform(some)


def sentence_encoder(name: str) -> Embed:
    """A sentence-transformers model by name or folder. Raises RankingError without that package."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise RankingError(f"encoder '{name}' needs sentence-transformers: {command('encoders')}") from None
    model = SentenceTransformer(name, device="cpu", trust_remote_code=False)
    return lambda texts: model.encode(texts, show_progress_bar=False, convert_to_numpy=True)
