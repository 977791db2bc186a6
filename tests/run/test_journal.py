"""The journal: an ask that was answered before is answered again from the disk, and only then."""

import errno
import os
import shutil

import pytest

from oneloop.core import storage
from oneloop.run import reserve
from oneloop.run.journal import Journal, forget
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
        self.said = []
        self.journal = Journal(folder, says=self.said.append)
        self.sampler, self.judge = sampler, judge

    def __getattr__(self, name):
        return getattr(self.journal, name)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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
    made.close()
    (made.folder / "ask-notes").write_text("mine")
    (made.folder / "ask-1.entry").write_text("mine")
    shutil.copytree(made.folder, tmp_path / "earlier")
    shutil.copytree(made.folder, tmp_path / "later")
    forget(tmp_path, ["earlier", "journal", "later"], 1, 2)
    mine = ["ask-1.entry", "ask-notes"]
    assert names(tmp_path / "earlier") == mine
    assert names(made.folder) == ["ask-00000002.entry", *mine]
    assert names(tmp_path / "later") == [*(f"ask-{n:08d}.entry" for n in range(3)), *mine]


def test_a_full_disk_leaves_no_half_entry(tmp_path, asked, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    made, *_ = journal(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "flush", full)
        with pytest.raises(OSError, match="No space left"):
            answer(made, asked)
    made.close()
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


def flip(path, place: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", ["first bit", "last bit", "shorter", "empty", "another thing"])
def test_a_damaged_entry_is_set_aside_in_words_and_asked_again(tmp_path, asked, damage):
    made, *_ = journal(tmp_path)
    finished, unfinished = answer(made, asked)
    path = made.folder / "ask-00000000.entry"
    if damage.endswith("bit"):
        flip(path, 0 if damage == "first bit" else -1)
    elif damage == "another thing":
        storage.write_entry(path, {"asked": asked.id, "judged": True})
    else:
        path.write_bytes(path.read_bytes()[:-9] if damage == "shorter" else b"")
    again, sampler, judge = journal(tmp_path)
    said = again.said
    finished_again, unfinished_again = answer(again, asked)
    assert same(finished, finished_again) and same(unfinished, unfinished_again)
    assert sampler.calls == judge.calls == 1
    assert len(said) == 1 and "is kept as ask-00000000.entry.damaged, and its rollouts are sampled" in said[0]
    assert (made.folder / "ask-00000000.entry.damaged").exists()
    last, sampler, _ = journal(tmp_path)
    assert same(answer(last, asked)[0], finished) and sampler.calls == 0


def test_an_answer_whose_replay_raises_is_asked_again_the_next_time(tmp_path, asked):
    answer(journal(tmp_path)[0], asked)
    again, *_ = journal(tmp_path)
    answer(again, asked)
    again.blame(RuntimeError("the disk, say"))
    assert again.said == []
    answer(second := journal(tmp_path)[0], asked)
    second.blame(UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"))
    assert "surrogates not allowed" in second.said[0]
    third, sampler, judge = journal(tmp_path)
    answer(third, asked)
    assert sampler.calls == judge.calls == 1


def test_an_answer_that_was_used_up_is_not_blamed(tmp_path, asked):
    answer(journal(tmp_path)[0], asked)
    again, *_ = journal(tmp_path)
    answer(again, asked)
    again.settled()
    again.blame(ValueError("of a later step"))
    assert (again.folder / "ask-00000000.entry").exists()


def test_an_answer_paid_for_finds_room_on_a_full_disk(tmp_path, asked, monkeypatch):
    made, sampler, judge = journal(tmp_path)
    replace = storage.replace_file

    def full_beside_the_reserve(path, content):
        if (made.folder / "reserve").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "replace_file", full_beside_the_reserve)
        with pytest.raises(OSError, match="the disk is full; what was sampled and judged is kept"):
            answer(made, asked)
    again, sampler, judge = journal(tmp_path)
    answer(again, asked)
    assert sampler.calls == judge.calls == 0


def test_nothing_is_sampled_when_there_is_no_room_for_it(tmp_path, asked, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    made, sampler, _ = journal(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(OSError, match="less than 4 MB are left .* stopped before sampling"):
            answer(made, asked)
    assert sampler.calls == 0 and list(made.folder.iterdir()) == []
    answer(made, asked)
    assert (made.folder / "reserve").stat().st_size == reserve.LEAST
    made.close()
    assert names(made.folder) == ["ask-00000000.entry"]


def test_ctrl_c_while_verdicts_are_written_loses_none(tmp_path, asked, monkeypatch):
    made, *_ = journal(tmp_path)
    replace, calls = storage.replace_file, []

    def interrupted(path, content):
        calls.append(path)
        if len(calls) == 1:
            raise KeyboardInterrupt
        replace(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "replace_file", interrupted)
        with pytest.raises(KeyboardInterrupt):
            answer(made, asked)
    again, sampler, judge = journal(tmp_path)
    answer(again, asked)
    assert sampler.calls == judge.calls == 0
