"""Addresses are shown without their secrets, and work is waited for wherever one is."""

import pytest

from oneloop.core.web import shown_url, split_login, wait_for


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
