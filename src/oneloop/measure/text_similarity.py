"""How alike two texts are: cosine similarities of TF-IDF vectors, or of any embedder's.

    c texts of a corpus   q queries   d dimensions

TF-IDF (scikit-learn) needs nothing downloaded; it is fitted on the corpus alone, so what else is asked
changes no answer. A sentence encoder by name needs the extra `encoders`. An embedder of your own is a
function from a list of texts to an array [texts, d]. Left out: approximate search; up to
1e5 texts one product is enough.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oneloop.core.extras import command

Embedder = Callable[[list[str]], ArrayLike]
Similarity = Callable[[Sequence[str], Sequence[str]], NDArray[np.float64]]
TFIDF = "tfidf"
DECIMALS = 6
"""Similarities are rounded, so that the last bits of an encoder do not decide over a tie."""


def similarity(embedder: str | Embedder) -> Similarity:
    """A function (corpus [c], queries [q]) -> float64 [q, c] in -1..1, for the embedder so named, or given.

    Raises ValueError when a sentence encoder cannot be loaded, naming the extra where that is missing.
    """
    if embedder == TFIDF:
        return tfidf
    embed = encoder(embedder) if isinstance(embedder, str) else embedder
    vectors: dict[str, NDArray[np.float64]] = {}

    def compare(corpus: Sequence[str], queries: Sequence[str]) -> NDArray[np.float64]:
        new = sorted({*corpus, *queries} - vectors.keys())
        vectors.update(zip(new, _unit(embed, new), strict=True))
        left, right = ([vectors[text] for text in texts] for texts in (queries, corpus))
        likeness: NDArray[np.float64] = np.stack(left) @ np.stack(right).T
        return np.round(likeness, DECIMALS)

    return compare


def tfidf(corpus: Sequence[str], queries: Sequence[str]) -> NDArray[np.float64]:
    """float64 [q, c], by words, numbers and signs; 0 where nothing is shared."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]")
    try:
        known = vectorizer.fit_transform(corpus)
    except ValueError:  # no text of the corpus holds a word
        return np.zeros((len(queries), len(corpus)))
    found: NDArray[np.float64] = (vectorizer.transform(queries) @ known.T).toarray()
    return np.round(found, DECIMALS)


@cache
def encoder(name: str) -> Embedder:
    """The sentence-transformers model `name`, on the hub or a folder. Raises ValueError without it."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise ValueError(
            f"embedder '{name}' needs sentence-transformers: {command('encoders')}; without it: '{TFIDF}'"
        ) from None
    try:
        model: Any = SentenceTransformer(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"embedder '{name}' cannot be loaded: {error}; without one: '{TFIDF}'") from error

    def embed(texts: list[str]) -> ArrayLike:
        # one at a time: an embedding must not depend on what else is in its batch
        return np.stack([np.asarray(model.encode(text, show_progress_bar=False)) for text in texts])

    return embed


def _unit(embed: Embedder, texts: list[str]) -> NDArray[np.float64]:
    """[texts, d] of length 1 (0 stays 0). Raises ValueError for another shape, and for what is no number."""
    if not texts:
        return np.zeros((0, 0))
    vectors = np.asarray(embed(texts), dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
        raise ValueError(
            f"an embedder gives finite numbers [texts, d], got shape {vectors.shape} for {len(texts)} texts"
        )
    length = np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=float(np.finfo(np.float64).tiny))
    return np.asarray(vectors / length, dtype=np.float64)
