"""benchmarks/claims/bases.py: a base is taught once for all arms, workers and resumed runs."""

import torch
from benchmarks.claims import bases, code


def teacher(taught):
    def base(arm: str, seed: int):
        from oneloop.measure.statistics.passk import pass_at_k

        taught.append((arm, seed))
        weight = torch.full((2, 2), float(seed) + pass_at_k(0.0, 2))
        return {"in.weight": weight, "out.weight": weight}  # tied, as embeddings are

    return base


def test_a_base_is_kept_on_disk_for_other_processes_and_says_which_code_taught_it(tmp_path):
    taught, passk = [], "src/oneloop/measure/statistics/passk.py"
    first, other = bases.kept(teacher(taught)), bases.kept(teacher(taught))
    for base in (first, other):
        ran = set()
        with bases.kept_in(tmp_path / "bases"), code.watched(ran):
            found = base("GRPO", 3)
        assert set(found) == {"in.weight", "out.weight"} and passk in ran
        assert all(torch.equal(weight, torch.full((2, 2), 3.0)) for weight in found.values())
    assert taught == [("GRPO", 3)]
    assert [file.name for file in (tmp_path / "bases").iterdir()] == ["base-GRPO-3.safetensors"]


def test_without_a_folder_a_base_is_kept_in_memory_for_each_of_its_arguments():
    taught = []
    base = bases.kept(teacher(taught))
    assert base("GRPO", 3) is base("GRPO", 3) is not base("GRPO", 4)
    assert taught == [("GRPO", 3), ("GRPO", 4)]
