import pytest

from oneloop.judge.functions.locate import check, parameters


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rewards.py"
    path.write_text(
        "raise RuntimeError('imported')\n"
        "def my_reward(): ...\nasync def slow(): ...\nclass Orm: ...\n"
        "try:\n    from fast import quick\nexcept ImportError:\n    import quick\nalias = lambda: 0\n"
    )
    return path


def test_names_are_found_without_importing(file):
    for name in ("my_reward", "slow", "Orm", "quick", "alias"):
        check(f"{file}:{name}")
    check("oneloop.judge.functions.locate.check")
    check("math.sqrt")  # compiled


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("{file}:my_rewrad", "defines no 'my_rewrad'; did you mean 'my_reward'"),
        ("nowhere.py:f", "no such file: nowhere.py"),
        ("oneloop.judge.functions.locate.chek", "defines no 'chek'; did you mean 'check'"),
        ("no_such_package.f", "cannot find the module 'no_such_package'"),
        ("no_such_package.module.f", "cannot find the module 'no_such_package.module'"),
        ("my_reward", "is written 'file.py:function' or 'package.module.function', got 'my_reward'"),
    ],
)
def test_what_is_not_there_is_named(file, path, message):
    with pytest.raises(ValueError) as caught:
        check(path.format(file=file))
    assert message in str(caught.value)


def test_packages_around_a_module_are_not_imported(tmp_path, monkeypatch):
    (tmp_path / "broken_package" / "inner").mkdir(parents=True)
    (tmp_path / "broken_package" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "broken_package" / "inner" / "deep.py").write_text("def f(): ...")
    monkeypatch.syspath_prepend(tmp_path)
    check("broken_package.inner.deep.f")
    with pytest.raises(ValueError, match="cannot find the module 'broken_package.outer'"):
        check("broken_package.outer.f")


def test_a_file_may_begin_with_a_byte_order_mark_and_has_lines_of_windows(tmp_path):
    (tmp_path / "marked.py").write_bytes(b"\xef\xbb\xbfdef f(completions):\r\n    return [1.0]\r\n")
    check(f"{tmp_path / 'marked.py'}:f")
    assert parameters(f"{tmp_path / 'marked.py'}:f") == (["completions"], False)


def test_a_syntax_error_is_told_with_its_line(tmp_path):
    (tmp_path / "null.py").write_bytes(b"x = 1\0")
    with pytest.raises(ValueError, match="null"):
        check(f"{tmp_path / 'null.py'}:f")
    (tmp_path / "bad.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(ValueError, match="syntax error in line 2"):
        check(f"{tmp_path / 'bad.py'}:f")


def test_a_star_import_may_hold_anything(tmp_path):
    (tmp_path / "star.py").write_text("from elsewhere import *\n")
    check(f"{tmp_path / 'star.py'}:f")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f(a, /, b, *, c=1, **more): ...", (["a", "b", "c"], True)),
        ("async def f(a): ...", (["a"], False)),
        ("class f:\n    def __call__(self, a): ...", (["a"], False)),
        ("class f(Other): ...", None),
        ("@wrapped\ndef f(a): ...", None),
        ("f = partial(g, 1)", None),
        ("if True:\n    def f(a): ...", None),
    ],
)
def test_parameters_are_read_where_the_source_tells_them(tmp_path, source, found):
    path = tmp_path / "rewards.py"
    path.write_text(source)
    assert parameters(f"{path}:f") == found


def test_parameters_of_a_function_of_a_module():
    assert parameters("oneloop.judge.functions.locate.parameters") == (["path"], False)
    assert parameters("math.sqrt") is None
