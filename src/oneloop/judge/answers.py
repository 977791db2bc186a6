"""The texts that count as right, from what a data row has as its `answer`. Standard library only.

A data set may know several: TriviaQA's aliases, Natural Questions' golden answers.
"""

from typing import Any


def accepted(answer: Any) -> list[str]:
    """The right answers as text: one, several of a list, or none where the row has none (None, NaN, []).

    Raises ValueError for a mapping, which does not say which of its values is the answer.
    """
    if hasattr(answer, "tolist"):  # an array, or a number of numpy's
        answer = answer.tolist()
    if answer is None or answer != answer:
        return []
    if isinstance(answer, list | tuple | set | frozenset):
        return list(dict.fromkeys(text for one in answer for text in accepted(one)))
    if isinstance(answer, bool):  # as Python and as JSON write it
        return [str(answer), str(answer).lower()]
    if type(answer) is float and answer.is_integer():  # a column of whole numbers with gaps is one of floats
        return [str(answer), str(int(answer))]
    if isinstance(answer, str | int | float):
        return [str(answer).strip()]
    raise ValueError(
        f"the right answer is {answer!r:.80} ({type(answer).__name__}), which is compared with no text; "
        "an answer is a text, a number, or a list of them: make such a column and name it with label_key"
    )
