"""benchmarks/claims/code.py: a result knows the code that made it, and not its comments."""

from benchmarks.claims import code
from benchmarks.claims.registry import stale

PROGRAM = '''"""What it is."""
RATE = 1  # a reason
def double(x):
    """Twice."""
    return 2 * x
'''


def test_comments_docstrings_and_layout_do_not_count_and_everything_else_does(tmp_path):
    def digest(name, text):
        (tmp_path / name).write_text(text)
        return code.digest(tmp_path / name)

    first = digest("a.py", PROGRAM)
    assert digest("b.py", "RATE = 1\n\n\ndef double(x): return 2*x\n") == first
    assert digest("c.py", PROGRAM.replace("RATE = 1", "RATE = 2")) != first
    assert digest("d.py", PROGRAM.replace("2 * x", "x + x")) != first
    claim = "CLAIM = Claim(found='{}', target={})"
    one, two, three = (
        digest(f"{n}.py", claim.format(*said)) for n, said in enumerate([("", 1), ("less", 1), ("", 2)])
    )
    assert one == two != three


def test_files_that_ran_are_found_and_a_changed_one_makes_a_result_stale():
    from oneloop.measure.statistics.passk import pass_at_k

    ran = set()
    with code.watched(ran):
        pass_at_k(0.5, 2)
    found = code.digests(ran | {"benchmarks/claims/running.py"})
    assert list(found) == ["src/oneloop/measure/statistics/passk.py"], "the harness computes nothing"
    assert code.changed(found) == [] and stale({"code": found}) is False
    assert code.changed(dict.fromkeys(found, "0" * 12) | {"src/gone.py": "1"}) == [*found, "src/gone.py"]
    assert stale({"code": dict.fromkeys(found, "")}) and stale({"measured": 1}) and stale({}) is None
