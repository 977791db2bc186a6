"""Pictures that a policy does not look at."""

import re

import pytest

from oneloop.sample.policies.tokens.unseen_pictures import unseen

MESSAGE = [{"role": "user", "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "?"}]}]
TEXT = [{"role": "user", "content": [{"type": "text", "text": "?"}]}]


@pytest.mark.parametrize(
    ("rows", "reads", "said"),
    [
        (
            [{"prompt": "?", "image": "a.png"}, {"prompt": "?", "image": None}],
            False,
            "1 of 2 rows looked at have",
        ),
        ([{"prompt": "?", "images": []}, {"prompt": "?", "image": ""}], False, None),
        ([{"prompt": "?", "image": "a.png"}], True, None),
        ([{"prompt": "?"}, {"prompt": "?", "images": ["a.png"]}], True, None),
        ([{"prompt": MESSAGE}], True, None),
        ([{"prompt": TEXT, "picture": "a.png"}], True, "no row .* and the columns are prompt, picture$"),
        ([{"prompt": "?", "images": []}], True, "no row looked at shows a picture"),
        ([], True, None),
    ],
)
def test_what_is_not_looked_at_is_said(rows, reads, said):
    found = list(unseen(rows, reads))
    assert len(found) == (said is not None)
    assert said is None or re.search(said, found[0])
