"""Step files are merged many to a file: no rollout is lost or doubled, killed at any instant or not."""

import itertools
import json

import pyarrow.parquet as pq
import pytest

from oneloop.core import recorded
from oneloop.core.storage import Damaged
from oneloop.measure.ranking.readers.rollouts import recorded as ranked_files
from oneloop.report.rollout_tables import read_rollouts
from oneloop.run import merging
from oneloop.run.merging import cut, merge
from oneloop.run.record import write_parquet
from oneloop.run.writer import Writer
from tests.support.training import assert_equal, outcome, raw_recipe, train


@pytest.fixture(autouse=True)
def tens(monkeypatch):
    """Files of ten steps, so that few files are enough."""
    monkeypatch.setattr(merging, "TOGETHER", 10)


def write(folder, numbers, rollouts=2, **more):
    """Step files in which every other step has errors, whose column is of no type in the others."""
    for step in numbers:
        rows = [
            {
                "step": step,
                "id": 10 * step + row,
                "group": step,
                "prompt": f"p{step}",
                "text": "x",
                "error.judge": "bad" if step % 2 else None,
                "tokens": [row] * (step % 3),
                **more,
            }
            for row in range(rollouts)
        ]
        write_parquet(folder / recorded.ONE.format(step), rows)


def told(folder):
    return [row for step in recorded.steps(folder) for row in step.read().to_pylist()]


def names(folder):
    return sorted(path.name for path in folder.glob("*.parquet*"))


def test_whole_tens_become_a_file_with_a_row_group_a_step(tmp_path):
    write(tmp_path, range(1, 26))
    before = told(tmp_path)
    merge(tmp_path, 24)
    assert names(tmp_path)[:1] + names(tmp_path)[-2:] == [
        "step-000021.parquet",
        "steps-000001-000010.parquet",
        "steps-000011-000020.parquet",
    ]
    assert len(names(tmp_path)) == 7 and told(tmp_path) == before
    assert [step.number for step in recorded.steps(tmp_path)] == list(range(1, 26))
    assert pq.ParquetFile(tmp_path / "steps-000011-000020.parquet").num_row_groups == 10
    # a reader that knows nothing of steps has them all, once, in order
    whole = pq.read_table(tmp_path / "steps-000001-000010.parquet").to_pylist()
    assert whole == before[:20] and ranked_files(tmp_path)[0].name == "steps-000001-000010.parquet"
    (one,) = [step for step in recorded.steps(tmp_path) if step.number == 7]
    assert one.read(["id"]).to_pylist() == [{"id": 70}, {"id": 71}]


def test_other_columns_begin_another_file_and_missing_steps_are_missing(tmp_path):
    write(tmp_path, range(1, 5))
    write(tmp_path, range(6, 11), judge="verifier")
    before = told(tmp_path)
    merge(tmp_path, 10)
    assert names(tmp_path) == ["steps-000001-000004.parquet", "steps-000006-000010.parquet"]
    assert told(tmp_path) == before and "judge" not in before[0]


def test_the_report_shows_merged_steps_as_it_shows_single_ones(tmp_path):
    write(tmp_path, range(1, 13))
    phases = [("train", 1, 12)]
    single = read_rollouts(tmp_path, phases=phases).to_data()
    merge(tmp_path, 12)
    assert len(names(tmp_path)) == 3
    assert json.dumps(read_rollouts(tmp_path, phases=phases).to_data()) == json.dumps(single)


def test_a_kill_at_any_instant_loses_and_doubles_nothing(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    monkeypatch.setattr(merging, "TOGETHER", 4)
    before = None
    for die_at in itertools.count():
        folder = tmp_path / str(die_at)
        write(folder, range(1, 5))
        before = before or told(folder)
        calls = iter(range(10_000))

        def dies(real, calls=calls, die_at=die_at):
            def called(*args, **options):
                if next(calls) == die_at:
                    raise Killed
                return real(*args, **options)

            return called

        with monkeypatch.context() as patch:
            patch.setattr(merging, "write_file", dies(merging.write_file))
            patch.setattr("pathlib.Path.unlink", dies(type(folder).unlink))
            patch.setattr("pathlib.Path.replace", dies(type(folder).replace))
            try:
                merge(folder, 4)
                alive = True
            except Killed:
                alive = False
        assert told(folder) == before
        merge(folder, 4)
        assert told(folder) == before and names(folder) == ["steps-000001-000004.parquet"]
        if alive:
            break
    assert die_at > 4  # each deletion was an instant to die at


def test_going_back_takes_later_steps_out_of_merged_files(tmp_path):
    write(tmp_path, range(1, 31))
    before = told(tmp_path)
    merge(tmp_path, 30)
    cut(tmp_path, 15)
    assert names(tmp_path) == ["steps-000001-000010.parquet", "steps-000011-000015.parquet"]
    assert told(tmp_path) == before[:30]
    write(tmp_path, range(16, 31))
    merge(tmp_path, 30)
    assert told(tmp_path) == before
    assert len(names(tmp_path)) == 4
    cut(tmp_path, 0)
    assert told(tmp_path) == []


def test_a_damaged_step_stays_and_hides_no_other(tmp_path):
    write(tmp_path, range(1, 11))
    before = told(tmp_path)
    (tmp_path / recorded.ONE.format(5)).write_bytes(b"PAR1 no more")
    merge(tmp_path, 10)
    assert names(tmp_path) == [
        "step-000005.parquet",
        "steps-000001-000004.parquet",
        "steps-000006-000010.parquet",
    ]
    (tmp_path / recorded.ONE.format(5)).unlink()
    assert told(tmp_path) == before[:8] + before[10:]


def test_a_damaged_merged_file_is_named_and_going_on_sets_it_aside(tmp_path):
    write(tmp_path, range(1, 11))
    merge(tmp_path, 10)
    path = tmp_path / "steps-000001-000010.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Damaged, match="steps-000001-000010.parquet is damaged"):
        recorded.steps(tmp_path)
    merge(tmp_path, 10)
    cut(tmp_path, 10)
    assert names(tmp_path) == [path.name]
    cut(tmp_path, 5)
    assert names(tmp_path) == [f"{path.name}.damaged"]


def test_a_full_disk_leaves_the_files_as_they_were(tmp_path, monkeypatch):
    write(tmp_path, range(1, 11))
    before = told(tmp_path)

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(merging.pq.ParquetWriter, "write_table", full)
    merge(tmp_path, 10)
    assert told(tmp_path) == before and len(names(tmp_path)) == 10


def test_a_run_merges_what_no_resume_makes_again_and_resumes_to_the_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(merging, "TOGETHER", 2)
    options = {"phases": {"reinforce": raw_recipe()["phases"]["reinforce"]}, "evaluate": None}
    train(tmp_path / "whole", **options)
    whole = outcome(tmp_path / "whole")
    # checkpoints after steps 6 and 7 are kept, so nothing goes back to before step 6
    merged = [name for name in whole["parquet"] if name.startswith("steps-")]
    assert merged[0] == "steps-000001-000002.parquet" and merged[-1] == "steps-000005-000006.parquet"
    assert sum(name.startswith("step-") for name in whole["parquet"]) == 1

    class Killed(BaseException):
        pass

    real = Writer.save

    def dies(writer, policy, log, state):
        real(writer, policy, log, state)
        if log.step == 6:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "save", dies)
        with pytest.raises(Killed):
            train(tmp_path / "cut", **options)
    train(tmp_path / "cut", resume=True, **options)
    assert_equal(outcome(tmp_path / "cut"), whole)
