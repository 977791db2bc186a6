"""The journal: an ask that was answered before is answered again from the disk, and only then."""

import errno

import pytest

from oneloop.core import storage
from oneloop.run.journal import Journal
from tests.sample.plan.sampler import FakeSampler, judged, same
from tests.sample.plan.test_plan import plan as made_plan


class Judge:
    """Counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, finished):
        self.calls += 1
        return judged(finished)


@pytest.fixture
def asked():
    return made_plan(groups=2, n=3).ask()


def dies(asked):
    raise KeyboardInterrupt


def away(finished):
    raise ConnectionError("the critic is away")


def journal(folder, patience=lambda row: 1 if row == 4 else None):
    sampler, judge = FakeSampler(patience), Judge()
    return Kept(folder / "journal", sampler, judge), sampler, judge


class Kept:
    """A journal with who answers what it does not know."""

    def __init__(self, folder, sampler, judge):
        self.journal, self.sampler, self.judge = Journal(folder), sampler, judge

    def __getattr__(self, name):
        return getattr(self.journal, name)


def answer(made, asked):
    return made.journal.answer(asked, made.sampler, made.judge)


def test_the_same_ask_is_answered_from_the_disk(tmp_path, asked):
    first, *_ = journal(tmp_path)
    finished, unfinished = answer(first, asked)
    assert len(unfinished) == 1 and "reward" in finished
    again, sampler, judge = journal(tmp_path)
    finished_again, unfinished_again = answer(again, asked)
    assert same(finished, finished_again) and same(unfinished, unfinished_again)
    assert sampler.calls == judge.calls == 0 and again.reused == 1
    # it goes on where the journal ends
    answer(again, unfinished)
    assert sampler.calls == judge.calls == 1 and again.asks == 2 and again.reused == 1


def test_it_answers_with_the_facts_of_the_ask(tmp_path, asked):
    answer(journal(tmp_path)[0], asked)
    again, *_ = journal(tmp_path)
    finished, unfinished = answer(again, asked.put_facts(progress=0.75))
    assert finished.facts["progress"] == unfinished.facts["progress"] == 0.75
    assert finished.example[0] is asked.example[asked.id.tolist().index(int(finished.id[0]))]


def test_another_ask_is_sampled_and_takes_the_place(tmp_path, asked):
    answer(journal(tmp_path)[0], asked)
    other = asked.put(id=asked.id + 100)
    again, sampler, judge = journal(tmp_path)
    finished, _ = answer(again, other)
    assert sampler.calls == judge.calls == 1 and finished.id.min() >= 100
    third, sampler, _ = journal(tmp_path)
    answer(third, other)
    assert sampler.calls == 0


def test_what_was_not_judged_is_sampled_again(tmp_path, asked):
    first, *_ = journal(tmp_path)
    with pytest.raises(KeyboardInterrupt):  # killed before the verdicts, and before anything was written
        first.journal.answer(asked, dies, first.judge)
    again, sampler, judge = journal(tmp_path)
    answer(again, asked)
    assert sampler.calls == judge.calls == 1


def test_without_anything_finished_no_judge_is_asked(tmp_path, asked):
    made, _, judge = journal(tmp_path, lambda row: 0)
    finished, unfinished = answer(made, asked)
    assert len(finished) == 0 and judge.calls == 0 and len(unfinished) == 6
    again, sampler, _ = journal(tmp_path)
    assert same(answer(again, asked)[1], unfinished) and sampler.calls == 0


def test_a_checkpoint_lets_it_forget(tmp_path, asked):
    made, *_ = journal(tmp_path, lambda row: None)
    for step in range(3):
        answer(made, asked.put(id=asked.id + 10 * step))
    assert sorted(path.name for path in made.folder.iterdir()) == [f"ask-{n:08d}" for n in range(3)]
    early, *_ = journal(tmp_path)
    early.journal.asks = 2
    early.forget()
    assert [path.name for path in made.folder.iterdir()] == ["ask-00000002"]


def test_a_full_disk_leaves_no_half_entry(tmp_path, asked, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    made, *_ = journal(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "save_file", full)
        with pytest.raises(OSError, match="No space left"):
            answer(made, asked)
    assert list(made.folder.iterdir()) == []
    again, sampler, _ = journal(tmp_path)
    answer(again, asked)
    assert sampler.calls == 1


def test_what_was_sampled_is_kept_when_the_judge_fails(tmp_path, asked):
    first, sampler, _ = journal(tmp_path)
    first.judge = away
    with pytest.raises(ConnectionError):
        answer(first, asked)
    again, sampler, judge = journal(tmp_path)
    finished, unfinished = answer(again, asked)
    assert sampler.calls == 0 and judge.calls == 1 and "reward" in finished and len(unfinished) == 1
    last, sampler, judge = journal(tmp_path)
    finished_again, _ = answer(last, asked)
    assert same(finished, finished_again) and sampler.calls == judge.calls == 0
