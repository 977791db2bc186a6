"""Text of others on its way to a file, a terminal or a log: what must not get there is replaced.

unicode(text)           for files: half surrogates, which no encoding has, become question marks
shown(text)             for terminals: control characters are written out, so that they cannot act
one_line(text)          for messages: the same, on one line of bounded length
words_of(error)         for messages: what an exception says, also one that fails to say it
without_logins(text)    for all: user names and passwords in addresses become ***
"""

import re
from typing import Any

SURROGATE = re.compile("[\ud800-\udfff]")
ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters but line end and tab, and marks that turn the direction of writing."""
LOGIN = re.compile(r"(?<=://)[^/\s@]+@")


def unicode(value: Any) -> Any:
    """`value`, a text or lists, tuples and dicts of them, with a question mark for every half surrogate."""
    if isinstance(value, str):
        return value if value.isascii() else SURROGATE.sub("?", value)
    if isinstance(value, dict):
        return {unicode(key): unicode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(unicode, value))
    return value


def shown(text: str) -> str:
    """`text` with every character that would act on a terminal written as Python writes it, such as \\x1b."""
    escaped = ACTING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return SURROGATE.sub("?", escaped)


def one_line(text: str, most: int = 200) -> str:
    """`shown`, of at most `most` characters of the text, with one space for each run of white space."""
    return " ".join(shown(text[:most]).split())


def words_of(error: BaseException) -> str:
    """What `error` says; the exception of a user's own class may itself fail at that."""
    try:
        return str(error)
    except Exception as failed:
        return f"it cannot be printed: {type(failed).__name__}"


def without_logins(text: str) -> str:
    """`text` with *** in place of the `user:password` of each address in it."""
    return LOGIN.sub("***@", text)
