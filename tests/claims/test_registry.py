"""benchmarks/claims: what is known of a claim, what it is run with, what is refused."""

import json
import subprocess
from dataclasses import replace

import pytest
from benchmarks.claims import code, registry, running
from benchmarks.claims.claim import Arm, Claim
from benchmarks.claims.registry import methods
from benchmarks.claims.running import confirm, run_claim, run_quickly

from oneloop.recipe.text import shipped


def rows_of(seed, advance):
    advance(f"seed {seed}")
    return {"ours": {"accuracy": 0.5 + 0.1 * seed}, "theirs": {"accuracy": 0.25 + 0.05 * seed}}


def plain(target, run=rows_of):
    return Claim(
        paper="arXiv 0000.00000",
        parts=("one_token",),
        recipe="toy",
        claim="twice",
        target=target,
        run=run,
        headline=lambda rows: (rows["ours"]["accuracy"], rows["theirs"]["accuracy"]),
        units=1,
    )


def trained(arm, value, seed):
    """Ours is best at a rate of .3, theirs at 10, beyond the end of its grid; work is the same."""
    best = {"ours": 0.3, "theirs": 10.0}[arm]
    return {"accuracy": (2 if arm == "ours" else 1) / (1 + abs(value - best)) + seed / 1e6, "work": 7.0}


def tuned(target=0.5, **options):
    return Claim(
        paper="arXiv 0000.00000",
        parts=("one_token",),
        recipe="toy",
        claim="better by a half",
        target=target,
        arms=(Arm("ours", (0.1, 0.3, 0.9, 2.7)), Arm("theirs", (0.1, 0.3, 0.9, 2.7))),
        train=trained,
        score=lambda row: row["accuracy"],
        work="rollouts",
        headline=lambda rows: rows["ours"]["accuracy"] - rows["theirs"]["accuracy"],
        **options,
    )


@pytest.fixture
def registered(monkeypatch):
    def register(claim):
        monkeypatch.setattr(registry, "names", lambda: ["toy"])
        monkeypatch.setattr(registry, "find_claim", lambda name: claim)

    return register


def test_a_claim_is_run_written_and_listed(tmp_path, registered):
    registered(plain(1.999))
    (before,) = methods(tmp_path)
    assert (before["measured"], before["state"], before["stale"]) == (None, "not measured", None)
    result = run_claim("toy", 3, tmp_path, tmp_path)
    assert result["measured"] == pytest.approx(2.0) and result["seeds"] == 3
    assert [row["row"] for row in result["table"]] == ["ours", "theirs"]
    assert json.loads((tmp_path / "toy.json").read_text()) == result
    (after,) = methods(tmp_path)
    assert after["state"] == "does not hold", "it has no tuned rival"
    assert after["tuned"] is False and after["arms"] == []
    assert {key: after[key] for key in ("low", "high", "date", "commit", "hardware")} == {
        key: result[key] for key in ("low", "high", "date", "commit", "hardware")
    }


def test_arms_are_tuned_on_seeds_of_their_own_and_grids_grow_until_the_best_is_inside(tmp_path, registered):
    registered(tuned())
    result = run_claim("toy", 3, tmp_path, tmp_path)
    ours, theirs = result["arms"]
    assert (ours["chosen"], ours["interior"], list(ours["grid"])) == (0.3, True, ["0.1", "0.3", "0.9", "2.7"])
    assert theirs["chosen"] == pytest.approx(8.1) and theirs["interior"] and len(theirs["grid"]) == 6
    assert ours["grid"]["0.3"] == pytest.approx(2 + 1001 / 1e6), "mean over seeds 1000, 1001, 1002"
    assert (
        result["tuned"] and result["work"]["most_over_least"] == 1 and result["work"]["counts"] == "rollouts"
    )
    assert result["measured"] == pytest.approx(2 - 1 / 2.9)
    assert methods(tmp_path)[0]["state"] == "holds"
    assert run_quickly("toy", tmp_path)["ours"] == trained("ours", 0.3, 0)


def test_a_stale_result_is_confirmed_by_its_first_seed_alone(tmp_path, registered):
    registered(tuned())
    stored = run_claim("toy", 2, tmp_path, tmp_path)
    path = tmp_path / "toy.json"
    path.write_text(json.dumps(stored | {"code": {"src/oneloop/gone.py": "1"}}))
    assert methods(tmp_path)[0]["stale"] and confirm("toy", tmp_path) == []
    assert json.loads(path.read_text())["code"] == {}, "a toy runs nothing of the project"
    stored["first"]["ours"]["accuracy"] += 1e-3
    path.write_text(json.dumps(stored | {"code": {"src/oneloop/gone.py": "1"}}))
    (other,) = confirm("toy", tmp_path)
    assert other.startswith("ours, accuracy: 2.001, 2.0") and methods(tmp_path)[0]["stale"]
    with pytest.raises(ValueError, match="nothing is stored of 'none'"):
        confirm("none", tmp_path)


@pytest.mark.parametrize("same", [True, False])
def test_where_this_machine_computes_otherwise_the_earlier_code_is_run_on_it_too(
    same, tmp_path, registered, monkeypatch
):
    registered(tuned())
    stored = run_claim("toy", 2, tmp_path, tmp_path)
    stored["first"]["ours"]["accuracy"] += 1e-3  # by another machine
    (tmp_path / "toy.json").write_text(json.dumps(stored | {"code": {"src/oneloop/gone.py": "1"}}))
    here = run_quickly("toy", tmp_path)
    before = here if same else here | {"theirs": here["theirs"] | {"accuracy": 0.0}}
    monkeypatch.setattr(running.code, "commit_of", lambda stored: "abc")
    monkeypatch.setattr(running, "earlier", lambda name, commit, known: before)
    other = confirm("toy", tmp_path)
    assert [each.partition(":")[0] for each in other] == ([] if same else ["theirs, accuracy"])
    kept = json.loads((tmp_path / "toy.json").read_text())
    assert kept["code"] == ({} if same else {"src/oneloop/gone.py": "1"}), "a toy runs nothing of the project"
    assert kept["first"] == stored["first"]


def test_the_code_that_made_a_result_is_found_and_run(tmp_path, monkeypatch):
    """In a clone where a claim was changed twice since, once in its words alone."""

    def git(*words):
        subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True)

    program = tmp_path / "benchmarks" / "claims" / "__main__.py"
    program.parent.mkdir(parents=True)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "someone")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "someone@example.com")
    git("init", "-q")
    for level in ("1", "2", "2  # two", "3"):
        said = "json.load(open('benchmarks/results/toy.json'))['chosen']"
        program.write_text(f"import json\nprint(json.dumps({{'ours': {{'a': {said}, 'b': {level}\n}}}}))\n")
        git("add", "-A")
        git("commit", "-qm", level)
    monkeypatch.setattr(code, "ROOT", tmp_path)
    file = "benchmarks/claims/__main__.py"
    made = code.digest_of(program.read_text().replace("'b': 3", "'b': 2"))
    commit = code.commit_of({file: made})
    assert code.git("show", "-s", "--format=%s", commit) == "2  # two"
    assert running.earlier("toy", commit, {"chosen": 0.5}) == {"ours": {"a": 0.5, "b": 2}}
    assert code.git("worktree", "list").count("\n") == 0
    assert code.commit_of({file: "0" * 12}) is None and code.commit_of({"gone.py": made}) is None


def test_states_name_the_regime_and_what_fell_before_it_was_tuned(tmp_path, registered):
    registered(tuned(only_under="long answers"))
    stored = run_claim("toy", 2, tmp_path, tmp_path)
    assert methods(tmp_path)[0]["state"] == "holds only under long answers"
    assert registry.state(tuned(target=9), stored) == "does not hold"
    assert registry.state(tuned(target=0.5), stored) == "holds"
    assert registry.state(tuned(target=0.5), stored | {"tuned": False}) == "does not hold"


def test_an_interrupted_claim_resumes_with_what_it_finished(tmp_path, registered):
    ran = []

    def interrupted(seed, advance):
        ran.append(seed)
        if ran == [0, 1, 2]:
            raise KeyboardInterrupt
        return rows_of(seed, advance)

    registered(plain(2, interrupted))
    with pytest.raises(KeyboardInterrupt):
        run_claim("toy", 4, tmp_path, tmp_path)
    assert run_claim("toy", 4, tmp_path, tmp_path, resume=True)["seeds"] == 4
    assert ran == [0, 1, 2, 2, 3]
    run_claim("toy", 3, tmp_path, tmp_path)
    assert ran[5:] == [0, 1, 2], "without resume all is run anew"


def test_wrong_requests_are_refused_in_words(tmp_path):
    with pytest.raises(ValueError, match="at least 2 seeds, got 1"):
        run_claim("otr", 1, tmp_path)
    with pytest.raises(ValueError, match="no claim is called 'otrr'; known: .*otr"):
        run_claim("otrr", 2, tmp_path)


def test_an_arm_without_a_grid_says_why_it_is_at_its_best(tmp_path, registered):
    options = {"arms": (Arm("ours", (0.1, 0.3, 0.9, 2.7)), Arm("theirs"))}
    options["train"] = lambda arm, value, seed: trained(arm, value if arm == "ours" else 1.0, seed)
    with pytest.raises(ValueError, match=r"nothing is said of \['theirs'\]"):
        replace(tuned(), **options)
    with pytest.raises(ValueError, match=r"no arms without a grid: \['other'\]"):
        tuned(at_best={"other": "it has no setting"})
    registered(replace(tuned(), **options, at_best={"theirs": "both of its plans were tried"}))
    stored = run_claim("toy", 2, tmp_path, tmp_path)
    assert stored["tuned"] and stored["arms"][1]["at_best"] == "both of its plans were tried"
    assert methods(tmp_path)[0]["tuned"] and methods(tmp_path)[0]["arms"] == stored["arms"]


@pytest.mark.parametrize("wrong", ["an edge", "no grid and no word", "an arm missing", "no rival"])
def test_a_claim_without_a_tuned_baseline_is_not_tuned(wrong):
    claim = tuned()
    arms = [
        {"name": name, "grid": {"0.1": 0.5}, "chosen": 0.1, "interior": True, "at_best": ""}
        for name in ("ours", "theirs")
    ]
    assert registry.tuned(claim, arms)
    if wrong == "an edge":
        arms[1]["interior"] = False
    elif wrong == "no grid and no word":
        arms[1]["grid"] = {}
    elif wrong == "an arm missing":
        del arms[1]
    else:
        claim, arms = replace(claim, arms=claim.arms[:1]), arms[:1]
    assert not registry.tuned(claim, arms)


def test_every_claim_is_complete_and_a_new_one_has_tuned_rivals():
    for method in methods():
        assert method["claim"] and method["paper"] and method["parts"] and method["says"]
        assert method["recipe"] in shipped() or method["recipe"].startswith("docs/")
        claim = registry.find_claim(method["name"])
        assert len(claim.arms) > 1, (
            "a claim names its rivals as arms, each with a grid or a word in `at_best`"
        )
        if method["measured"] is not None:
            assert method["tuned"], (
                f"{method['name']}: the best value of some arm lies at the end of its grid, or an arm with "
                "neither a grid nor a word in `at_best` stands among the stored ones"
            )
