"""where.py and query.py: structured filters, retrieval with the default and with an injected embedder."""

import numpy as np
import pytest

from oneloop.measure.ranking import RankingError, from_long, rank
from oneloop.measure.ranking.query import query
from oneloop.measure.ranking.where import where
from oneloop.measure.text_similarity import encoder

QUESTIONS = [
    ("What is the derivative of x squared?", "calculus", 3, "2x"),
    ("Integrate the derivative of sin x.", "calculus", 5, "sin x"),
    ("Who wrote Faust?", "literature", 1, "Goethe"),
    ("Who painted the Mona Lisa?", "art", 2, "Leonardo"),
]


@pytest.fixture
def pool():
    rows = []
    for number, (text, subject, level, answer) in enumerate(QUESTIONS):
        about = {"text": text, "subject": subject, "level": level, "answer": answer}
        about["doc"] = {"tags": [subject, "all"], "deep": {"x": number}}
        for model, score in (("a", number % 2), ("b", 1 - number % 2), ("c", 1)):
            rows.append({"model": model, "sample_id": f"q{number}", "score": float(score), **about})
    return from_long(rows)


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        (["subject=calculus"], [0, 1]),
        (["subject != calculus"], [2, 3]),
        (["level>2"], [0, 1]),
        (["level>=2", "level<5"], [0, 3]),
        (["level <= 1.0"], [2]),
        (["text~WHO"], [2, 3]),
        (["doc.tags~art"], [3]),
        (["doc.tags~all"], [0, 1, 2, 3]),
        (["doc.deep.x=1"], [1]),
        (["doc.nothing=1"], []),
        (["len(answer)<3"], [0]),
        (["sample=q2"], [2]),
        (["source="], [0, 1, 2, 3]),
        (["subject=art", "level=5"], []),
    ],
)
def test_filters(pool, conditions, found):
    assert where(pool, *conditions).samples.tolist() == [f"q{number}" for number in found]


def test_bad_filters_are_named(pool):
    with pytest.raises(RankingError, match="'subject' is no condition; write fact=value"):
        where(pool, "subject")
    with pytest.raises(
        RankingError, match="nothing called 'topic' is known of samples; there are sample, source, "
    ):
        where(pool, "topic=x")


def test_words_retrieve_the_samples_that_hold_them(pool):
    found = query(pool, "derivative")
    # the shorter of two questions that hold the word is nearer
    assert found.pool.samples.tolist() == ["q1", "q0"] and (found.similarity > 0).all()
    assert found.message == "2 of 4 samples retrieved for 'derivative'"
    assert query(pool, "derivative", top_k=1).pool.samples.tolist() == ["q1"]
    assert query(pool, "derivative", answer="sin").pool.samples.tolist() == ["q1"]
    assert query(pool, "who wrote it", threshold=0.2).pool.samples.tolist() == ["q2", "q3"]


def test_a_personal_ranking_is_that_of_the_samples_found(pool):
    assert rank(query(pool, "derivative").pool).models[0] == "c"
    alone = rank(query(pool, "Faust").pool)
    assert alone.as_dict["b"] == pytest.approx(alone.as_dict["c"]) and alone.models[-1] == "a"


def test_an_empty_answer_is_an_empty_pool_with_a_message(pool):
    found = query(pool, "zebra")
    assert len(found.pool.samples) == 0 and len(found.similarity) == 0
    assert found.message == "no sample of 4 is more similar to 'zebra' than 0; use other words"
    with pytest.raises(RankingError, match="nothing to rank"):
        rank(found.pool)


def test_the_embedder_is_injected_and_its_vectors_need_no_unit_length(pool):
    directions = {"Who": [0.0, 5.0], "What": [2.0, 0.0], "Inte": [1.0, 0.1]}

    def embed(texts):
        return np.array(
            [next((v for key, v in directions.items() if text.startswith(key)), [1, 0]) for text in texts]
        )

    found = query(pool, "anything", embedder=embed, threshold=0.5)
    assert found.pool.samples.tolist() == ["q0", "q1"]
    assert found.similarity == pytest.approx([1, 1 / np.hypot(1, 0.1)])


def test_texts_of_nothing_but_stop_words_are_still_found():
    rows = [{"model": m, "sample_id": t, "score": 1.0, "text": t} for m in "ab" for t in ("to be", "or not")]
    pool = from_long(rows)
    assert query(pool, "not").pool.samples.tolist() == ["or not"]


def test_bad_queries_are_named(pool):
    with pytest.raises(
        RankingError, match="top_k must be at least 1 and threshold from -1 to 1, got 0 and 0.0"
    ):
        query(pool, "x", top_k=0)
    with pytest.raises(RankingError, match="nothing called 'question' is known"):
        query(pool, "x", about="question")


def test_an_encoder_without_its_package_says_what_to_install(pool, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", None)
    encoder.cache_clear()
    with pytest.raises(ValueError, match=r"needs sentence-transformers: .*\[encoders\]"):
        query(pool, "x", embedder="all-MiniLM-L6-v2")
