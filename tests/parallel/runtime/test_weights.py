"""Weights are never torn, the newest wins, and a version that is referred to stays."""

import threading

import pytest

from oneloop.parallel.runtime.weights import NoVersion, Weights


def test_the_newest_wins_and_a_kept_version_stays():
    weights = Weights(buffers=3)
    for version in range(2):
        weights.publish(version, lambda _, v=version: [v] * 3)
    kept = weights.acquire(0)
    for version in range(2, 6):
        weights.publish(version, lambda _, v=version: [v] * 3)
    newest = weights.acquire()
    assert (kept.version, kept.value) == (0, [0, 0, 0])
    assert (newest.version, newest.value) == (5, [5, 5, 5])
    weights.release(kept)
    weights.publish(6, lambda old: [6] * 3)
    weights.publish(7, lambda old: [7] * 3)
    with pytest.raises(NoVersion, match="no weights of version 0; the newest are of version 7"):
        weights.acquire(0)


def test_buffers_are_written_again():
    weights = Weights()
    weights.publish(0, lambda _: [0])
    weights.publish(1, lambda _: [1])
    seen = []

    def fill(old):
        seen.append(list(old))
        old[0] = 2
        return old

    weights.publish(2, fill)
    assert seen == [[0]] and weights.acquire().value == [2]


def test_no_more_buffers_are_filled_than_were_needed_at_a_time():
    weights, made = Weights(buffers=20), []

    def fill(old):
        if old is None:
            made.append(old)
        return old or [0]

    for version in range(10):
        weights.publish(version, fill)
    kept = weights.acquire()
    weights.publish(10, fill)
    weights.publish(11, fill)
    weights.release(kept)
    for version in range(12, 20):
        weights.publish(version, fill)
    assert len(made) == 3


def test_a_writer_waits_for_the_reader_of_the_only_other_buffer():
    weights = Weights()
    weights.publish(0, lambda _: "old")
    reader = weights.acquire()
    weights.publish(1, lambda _: "new")
    done = threading.Event()
    writer = threading.Thread(target=lambda: (weights.publish(2, lambda _: "newer"), done.set()))
    writer.start()
    assert not done.wait(0.05) and reader.value == "old"
    weights.release(reader)
    writer.join(10)
    assert done.is_set() and weights.version == 2


def test_weights_are_never_torn_under_load():
    weights, wrong = Weights(buffers=3), []
    weights.publish(0, lambda _: [0] * 50)
    over = threading.Event()

    def read():
        while not over.is_set():
            buffer = weights.acquire()
            if buffer.value != [buffer.version] * 50:
                wrong.append(buffer.version)
            weights.release(buffer)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()

    def fill(old, version):
        old = old or [0] * 50
        for place in range(50):
            old[place] = version
        return old

    for version in range(1, 400):
        weights.publish(version, lambda old, v=version: fill(old, v))
    over.set()
    for reader in readers:
        reader.join(10)
    assert not wrong


def test_a_failed_writer_leaves_the_newest_as_it_was():
    weights = Weights()
    weights.publish(0, lambda _: "good")
    with pytest.raises(ZeroDivisionError):
        weights.publish(1, lambda _: 1 / 0)
    assert weights.acquire().value == "good"
    weights.publish(1, lambda old: "better")
    assert weights.version == 1


def test_misuse_is_said():
    weights = Weights()
    with pytest.raises(ValueError, match="at least 2"):
        Weights(1)
    with pytest.raises(NoVersion):
        weights.acquire()
    weights.publish(3, lambda _: 1)
    with pytest.raises(ValueError, match="version 3 after version 3"):
        weights.publish(3, lambda _: 1)
    buffer = weights.acquire()
    weights.release(buffer)
    with pytest.raises(ValueError, match="released more often"):
        weights.release(buffer)
