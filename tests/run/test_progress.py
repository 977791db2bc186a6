"""show.py: brackets of sentences are shown, not read as markup; the closing table has a row a moment."""

import io

from rich.console import Console

from oneloop.run.progress import Show, closing_table


def recorded():
    return Console(width=120, record=True, file=io.StringIO())


def evaluation(when, phase, mode, accuracy, step=0):
    interval = {"accuracy": accuracy, "low": accuracy - 0.1, "high": accuracy + 0.1}
    return {"when": when, "phase": phase, "mode": mode, "step": step, **interval}


def test_sentences_are_shown_as_they_are():
    console = recorded()
    show = Show(console)
    show.finding("warn", "recipe.judge[0] says [bold]nothing[/]")
    show.says("resuming [step 3]")
    assert console.export_text() == "warn recipe.judge[0] says [bold]nothing[/]\nresuming [step 3]\n"


def test_progress_moves_inside_a_step_and_ends_with_the_run():
    console = recorded()
    show = Show(console)
    with show.running({"a[1]": 2}):
        show.tokens(17, 3)
        show.says("evaluating [greedy]")
        show.step({"phase": "a[1]", "phase_step": 1, "reward": 0.25, "loss": 0.5})
    text = console.export_text()
    assert "1/2" in text and "reward 0.250" in text and "loss" not in text
    show.tokens(18, 3)
    show.says("afterwards")
    assert "afterwards" in console.export_text()


def test_the_closing_table_has_a_row_a_moment_and_a_column_a_mode():
    console = recorded()
    moments = [
        evaluation("before", "rl", "greedy", 0.2),
        evaluation("before", "rl", "sampled", 0.3),
        evaluation("during", "rl", "greedy", 0.5, step=7),
        evaluation("after", "rl", "sampled", 0.7),
    ]
    console.print(closing_table(moments))
    rows = [line for line in console.export_text().splitlines() if "rl" in line]
    assert [row.split("│")[1].strip() for row in rows] == ["before rl", "during rl, step 7", "after rl"]
    assert "20.0 % (10.0 to 30.0)" in rows[0] and "30.0 % (20.0 to 40.0)" in rows[0]
    assert rows[2].split("│")[2].strip() == ""
