"""Images in a report: small, the same prompts through training, trees framed by advantage, in a browser."""

import base64
import io
import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from oneloop.core.recorded import RecordedStep
from oneloop.report import RunDirectoryError, write_report
from oneloop.report.pictures import MOST_PIXELS, PNG, read_gallery, small
from oneloop.report.rollout_tables import by_phase, read_rollouts
from oneloop.run.gallery import PICTURES, TIMES, due
from tests.report.test_page import needs_chromium, result
from tests.run.test_flow_run import raw, train

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("pictures") / "branch"
    source = raw()
    train(directory, plan={**source["phases"]["branch"]["plan"], "dress": [{"fork": {"steps": [0, 2]}}]})
    return directory


@pytest.fixture(scope="module")
def report(run):
    return write_report(run)


def png_of(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_small_pictures_stay_to_the_byte_and_large_ones_shrink():
    tiny = png_of(np.zeros((8, 8), dtype=np.uint8))
    assert base64.b64decode(small(tiny)) == tiny
    large = png_of(np.zeros((40, 400, 3), dtype=np.uint8))
    shrunk = Image.open(io.BytesIO(base64.b64decode(small(large))))
    assert shrunk.size[0] == MOST_PIXELS and shrunk.size[1] < 40
    with pytest.raises(ValueError, match="not a PNG file"):
        small(b"GIF89a")


def test_pictures_are_drawn_so_many_times_a_phase_the_last_time_at_its_end():
    for steps in (1, 3, 6, 60, 1201):
        drawn = [done for done in range(1, steps + 1) if due(done, steps)]
        assert len(drawn) == min(steps, TIMES) and drawn[-1] == steps


def test_the_gallery_is_the_same_prompts_at_moments_of_training(run):
    gallery = read_gallery(run / "gallery")
    assert gallery.moments[0] == ("warm", 0) and gallery.moments[-1] == ("branch", 8)
    assert gallery.phases == [("warm", 4), ("branch", 5)] and len(gallery.rows) == PICTURES
    first, last = gallery.rows[0][1][0], gallery.rows[0][1][-1]
    assert first.source.startswith(PNG) and first.source != last.source
    assert len(gallery.means) == 9 and all(0 < mean < 1 for mean in gallery.means)
    assert read_gallery(run / "nowhere") is None


def test_a_damaged_picture_is_named(run, tmp_path):
    file = tmp_path / "step-000001.parquet"
    file.write_bytes(b"no parquet")
    with pytest.raises(RunDirectoryError, match="step-000001.parquet is damaged"):
        read_gallery(tmp_path)
    table = pq.read_table(run / "rollouts" / "step-000008.parquet").to_pylist()
    import pyarrow

    pq.write_table(pyarrow.Table.from_pylist([{**row, "image": b"text"} for row in table]), file)
    with pytest.raises(RunDirectoryError, match="rollout .*: its image is not a PNG file"):
        read_rollouts(tmp_path)


def test_paths_say_which_actions_rollouts_share(run):
    rows = pq.read_table(run / "rollouts" / "step-000008.parquet").to_pylist()
    leaves = [row for row in rows if row["tree"] == rows[0]["tree"]]
    paths = [row["action"] for row in leaves]
    shared = [len({path[step] for path in paths}) for step in range(len(paths[0]))]
    assert shared == [2, 2, 4, 4, 4]
    for step in range(5):  # what is shared was credited once
        credits = {path[step]: row["advantage"][step] for path, row in zip(paths, leaves, strict=True)}
        assert [row["advantage"][step] for row in leaves] == [credits[path[step]] for path in paths]


def test_every_phase_has_its_part_of_the_steps(tmp_path):
    recorded = [RecordedStep(step, tmp_path / f"step-{step:06d}.parquet") for step in range(1, 661)]
    steps = [step.number for step in by_phase(recorded, 24, [("warm", 1, 600), ("branch", 601, 660)])]
    assert len(steps) == 24 and sum(step > 600 for step in steps) == 12
    assert {1, 600, 601, 660} <= set(steps)
    assert by_phase(recorded, 1000, [("warm", 1, 600), ("branch", 601, 660)]) == recorded
    assert by_phase(recorded[:5], 3, []) == [recorded[0], recorded[2], recorded[4]]


def test_the_page_stays_small_and_alone(report):
    page = report.read_text()
    assert len(page) < 1_000_000 and "img-src data:" in page
    assert not re.findall(r"https?://|url\(", page)


@needs_chromium
def test_a_reader_sees_the_gallery_and_the_tree(report, run, browse_page):
    seen = result(
        browse_page(
            report,
            "#step=8&group=0",
            """const nodes = [...document.querySelectorAll("#group .node")];
            const all = (where) => [...document.querySelectorAll(where)];
            const frame = (node) => getComputedStyle(node.querySelector(".picture")).borderTopColor;
            return {
              gallery: all("#gallery tbody tr").map((row) => row.querySelectorAll("img").length),
              loaded: all("#gallery img").every((image) => image.naturalWidth === 8),
              heads: all("#gallery thead tr:last-child th").map((cell) => cell.textContent),
              trees: document.querySelectorAll("#group .tree").length,
              nodes: nodes.length,
              links: document.querySelectorAll("#group .tree path").length,
              dashed: document.querySelectorAll("#group .tree path[stroke-dasharray]").length,
              columns: [...new Set(nodes.map((node) => node.style.left))].length,
              titles: nodes.map((node) => node.title),
              colours: new Set(nodes.map(frame)).size,
              inside: nodes.every((node) => parseFloat(node.style.top) >= 0),
            };""",
        )
    )
    assert seen["gallery"] == [9] * PICTURES and seen["loaded"]
    assert seen["heads"][1] == "start" and seen["heads"][-1] == "8"
    assert (seen["trees"], seen["nodes"], seen["links"], seen["columns"]) == (1, 7, 6, 3)
    assert seen["dashed"] == 0 and seen["colours"] >= 3 and seen["inside"]
    assert seen["titles"][0].startswith("start: the noise they share\nmean reward of 4 images")
    leaves = [title for title in seen["titles"] if "steps 2 to 4" in title]
    assert len(leaves) == 4 and sum("steps left out" in title for title in leaves) == 2  # the worse siblings


@needs_chromium
def test_a_node_is_the_mean_of_the_images_that_came_of_it(report, run, browse_page):
    rows = pq.read_table(run / "rollouts" / "step-000008.parquet").to_pylist()
    leaves = [row for row in rows if row["group"] == rows[0]["group"]]
    mean = np.mean([np.asarray(Image.open(io.BytesIO(row["image"]))) for row in leaves], 0)
    drawn = result(
        browse_page(
            report,
            f"#step=8&group={rows[0]['group']}",
            """const canvas = document.querySelector("#group .node canvas");
            const data = () => [...canvas.getContext("2d").getImageData(0, 0, 8, 8).data];
            return new Promise((tell) => setTimeout(() => tell([canvas.dataset.drawn, data()]), 500));""",
        )
    )
    pixels = np.array(drawn[1]).reshape(8, 8, 4)[..., 0]
    assert drawn[0] == "4" and pixels.std() > 1 and np.abs(pixels - mean).max() <= 4
