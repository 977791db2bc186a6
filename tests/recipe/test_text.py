import pytest
import yaml

from oneloop.recipe.text import Dumper, NotYaml, parse, plain


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


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(
            (said, said)
            for said in ("007", "1:30", "2020-01-01", "2020-13-45", "no", "Yes", "on", "off", "0o17", "=")
        ),
        ("1e-5", 1e-5),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        ("-2.", -2.0),
        ("1_000", 1000),
        ("0x1f", 31),
        ("-0", 0),
        ("~", None),
        ("True", True),
    ],
)
def test_no_guess_of_yaml_1_1_changes_a_value(text, value):
    found = parse(text)
    assert found == value and type(found) is type(value)
    assert parse(yaml.dump(found, Dumper=Dumper)) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\n---\nb: 2", "a line --- begins a second document; a recipe is one"),
        ("a:\n\tb: 1", "line 2, column 1: b: 1 ^; indent with spaces, not with tabs"),
    ],
)
def test_what_the_library_says_is_said_plainly(text, words):
    with pytest.raises(NotYaml) as caught:
        parse(text)
    assert words in str(caught.value) and "unicode string" not in str(caught.value)
