import pytest

from oneloop.recipe.text import NotYaml, parse, plain


@pytest.mark.parametrize("text", ["a: {{question}}", "{{question}}", "? [1, 2]\n: 3"])
def test_what_is_no_key_is_told_quotes(text):
    with pytest.raises(NotYaml, match="line 1: a mapping or list is used as a key; .* is written in quotes"):
        parse(text)


def test_anchors_of_anchors_are_counted():
    laugh = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True):
        laugh += f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
    with pytest.raises(NotYaml, match="it holds more than 1,000,000 values, those of repeated anchors"):
        plain(parse(laugh), "recipe", [])


def test_an_anchor_used_twice_is_two_values():
    first = plain(parse("a: &a {b: [1]}\nc: *a"), "recipe", [])
    first["a"]["b"].append(2)
    assert first["c"] == {"b": [1]}
