"""Words and addresses of others, made safe to show."""

import pytest

from oneloop.core.web import printable, shown_url, split_login, wait_for


def test_control_characters_are_written_out():
    assert printable("a\x1b[31mb\x00\u202ec\ud800\nd\te") == "a\\x1b[31mb\\x00\\u202ec\\ud800 d e"
    assert printable("x" * 500) == "x" * 200


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://x:80/v1", "http://x:80/v1"),
        ("http://me:secret@x:80/v1", "http://***@x:80/v1"),
        ("http://me@x/v1?key=secret#secret", "http://***@x/v1?***"),
        ("http://me:se@cret@x/v1", "http://***@x/v1"),
        ("http://me:secret@[x/v1", "http://***"),
    ],
)
def test_addresses_are_shown_without_secrets(url, shown):
    assert shown_url(url) == shown


def test_a_login_is_taken_out_of_an_address():
    assert split_login("http://me:s%40t@x:80/v1") == ("http://x:80/v1", ("me", "s@t"))
    assert split_login("http://x/v1") == ("http://x/v1", None)


def test_work_is_waited_for_where_a_loop_runs():
    async def answer():
        return 7

    async def notebook():
        return wait_for(answer())

    assert wait_for(notebook()) == 7
