import pytest

from oneloop.report.handwriting_page import marked


@pytest.mark.parametrize(
    ("read", "text", "pieces"),
    [
        ("cat", "cat", [("cat", "right")]),
        ("cet", "cat", [("c", "right"), ("e", "wrong"), ("t", "right")]),
        ("ct", "cat", [("c", "right"), ("a", "missing"), ("t", "right")]),
        ("caat", "cat", [("ca", "right"), ("a", "extra"), ("t", "right")]),
        ("", "cat", [("cat", "missing")]),
    ],
)
def test_mistakes_of_a_reader_are_marked(read, text, pieces):
    assert marked(read, text) == pieces
