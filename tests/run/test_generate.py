"""Completions of one prompt, of models that read text and of those that see."""

import pytest
import yaml
from PIL import Image

from oneloop.run.generate import generate, reads_pictures
from oneloop.sample.policies.vision_language import VisionLanguage
from tests.sample.policies.pictures.tiny_vlms import Made


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    """The folder of a vision-language model."""
    folder = tmp_path_factory.mktemp("seeing")
    VisionLanguage(model=Made("llava_siglip"), max_new_tokens=3).open().save(folder)
    return folder


def test_a_prompt_may_show_pictures(seeing, tmp_path):
    paths = [tmp_path / f"{name}.png" for name in ("red", "blue")]
    for path in paths:
        Image.new("RGB", (8, 8), path.stem).save(path)
    said = [{"role": "user", "content": "what?"}]
    (one,) = generate(str(seeing), said, images=paths, max_new_tokens=3)
    assert isinstance(one.text, str)
    with pytest.raises(ValueError, match="picture 2: there is no picture '.*green.png'"):
        generate(str(seeing), said, images=[paths[0], tmp_path / "green.png"], max_new_tokens=3)


def test_a_model_that_reads_pictures_is_one_without_a_recipe_too(seeing):
    assert reads_pictures(str(seeing), None) and not reads_pictures(str(seeing / "nowhere"), None)
    (one,) = generate(str(seeing), "what?", max_new_tokens=3)
    assert isinstance(one.text, str)


@pytest.mark.parametrize(("policy", "seen"), [("language", False), ("vision_language", True)])
def test_the_recipe_of_a_run_says_whether_its_model_sees(tmp_path, policy, seen):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"policy": {policy: {"model": "x"}}}))
    assert reads_pictures("x", path) == seen
