"""Brackets of sentences are shown, not read as markup; the closing table has a row a moment."""

import io
from types import SimpleNamespace

from rich.console import Console

from oneloop.run import progress
from oneloop.run.progress import Show, closing_table


def recorded(**options):
    return Console(width=120, record=True, file=io.StringIO(), **options)


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
    console = recorded(force_terminal=True)
    show = Show(console)
    with show.running({"a[1]": 2}):
        show.tokens(17, 3)
        show.says("evaluating [greedy]")
        show.step({"phase": "a[1]", "phase_step": 1, "reward": 0.25, "loss": 0.5})
    text = console.export_text()
    assert "1/2" in text and "reward .25" in text and "loss" not in text
    show.tokens(18, 3)
    show.says("afterwards")
    assert "afterwards" in console.export_text()


STAGES = {
    "runtime/busy/sample": 0.4,
    "runtime/busy/judge": 0.97,
    "runtime/busy/learn": 0.18,
    "runtime/waits/sample": 0.0,
    "runtime/waits/judge": 0.82,
}


def test_stages_that_work_beside_one_another_have_a_bar_each():
    console = recorded(force_terminal=True)
    show = Show(console)
    with show.running({"rl": 2}):
        show.tokens(53, 8)
        show.step({"phase": "rl", "phase_step": 1, "reward": 0.25, **STAGES})
        seen = {task.description: task.visible for task in show._progress.tasks}
    assert not seen["sampling"], "an evaluation's count stays no longer than that"
    text = console.export_text()
    assert "97/100" in text and "busy 97 %, the update waits for it 82 %" in text and "busy 18 %" in text


def test_a_line_says_for_whom_the_update_waits():
    console = recorded()
    show = Show(console)
    with show.running({"rl": 2}):
        show.step({"phase": "rl", "phase_step": 1, "reward": 0.25, **STAGES})
    assert "reward .25 waits for judge 82 %" in console.export_text()


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


def metrics(done, **values):
    step = {
        "phase": "grpo",
        "phase_step": done,
        "reward": 0.8125,
        "completions/mean_length": 2.5,
        "loss": 0.1,
    }
    step |= {"entropy": 0.2131, "frac_reward_zero_std": 0.234, "step_time": 0.25, "sample_time": 0.1}
    return step | values


def test_outside_a_terminal_the_first_and_last_step_and_one_every_ten_seconds_are_lines(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    console = recorded()
    show = Show(console)
    with show.running({"grpo": 240}):
        for done in range(1, 241):
            now[0] += 0.25 if done != 120 else 5.0
            show.step(metrics(done, step_time=0.25 if done != 120 else 5.0))
    lines = console.export_text().splitlines()
    assert [line.split()[1] for line in lines] == [f"{n}/240" for n in (1, 41, 81, 120, 160, 200, 240)]
    assert lines[0] == "grpo 1/240 reward .812 len 2.5 ent .213 no-signal 23 % .25 s/step ETA 1:00"
    seconds = (38 * 0.25 + 5) / 39  # of the steps since the line before
    assert f"{seconds:.3f}"[1:] in lines[3] and "ETA 0:45" in lines[3]


def test_verbose_has_every_step_and_its_stages():
    console = recorded()
    show = Show(console, verbose=True)
    with show.running({"grpo": 3}):
        for done in (1, 2, 3):
            show.step(metrics(done))
    lines = console.export_text().splitlines()
    assert len(lines) == 3 and ".25 s/step sample .1 s judge 0 s credit 0 s update 0 s ETA 0:00" in lines[-1]


def test_completions_are_shown_as_text_spread_over_the_batch():
    table = type(
        "Table", (SimpleNamespace,), {"__len__": lambda self: 8, "__contains__": lambda self, name: True}
    )
    batch = table(
        text=[f"answer {n}\x1b[31m" for n in range(8)],
        context=[((0, [{"role": "user", "content": "1\n+1"}]),)] * 4 + [((0, "x" * 300),)] * 4,
        reward=[0.0, 1.0] * 4,
    )
    first, last = progress.completions(batch, 2)
    assert first == "  '1\\n+1' -> 'answer 0\\x1b[31m'  reward 0"
    assert last == f"  '{'x' * 100} ... {'x' * 100}' -> 'answer 4\\x1b[31m'  reward 0"
    assert progress.completions(batch, 0) == [] and len(progress.completions(batch, 5)) == 5


def test_only_warnings_are_left_of_a_quiet_run():
    quiet, errors = Console(quiet=True, record=True, file=io.StringIO()), recorded()
    show = Show(quiet, warnings=errors)
    with show.running({"grpo": 1}):
        show.step(metrics(1))
        show.finding("note", "small")
        show.finding("warn", "large")
    assert quiet.export_text() == "" and errors.export_text() == "warn large\n"


def test_brief_numbers():
    numbers = [0.8125, 2.5, 0, 30000.0, 1.2e-5, -0.5, 12.44, 1, 0.999999]
    assert [progress.brief(x) for x in numbers] == [
        ".812",
        "2.5",
        "0",
        "30,000",
        "1.2e-05",
        "-.5",
        "12.4",
        "1",
        "1",
    ]


def test_rewards_are_no_percentages():
    console = recorded()
    reward = {"reward": 30000.0, "reward_low": 29000.0, "reward_high": 31000.0}
    line = {"when": "before", "phase": "rl", "mode": "greedy", "step": 0}
    console.print(closing_table([line | reward]))
    text = console.export_text()
    assert (
        "held-out reward" in text and "30,000 (29,000 to 31,000)" in text and "%" not in text.split("when")[1]
    )
    assert progress.score(line | reward) == "reward 30,000 (29,000 to 31,000)"


def test_accuracy_and_a_reward_that_differs_are_both_shown():
    console = recorded()
    line = {"when": "before", "phase": "rl", "mode": "sampled", "step": 0, "accuracy": 0.0, "reward": 0.476}
    line |= {"low": 0.0, "high": 0.06, "reward_low": 0.46, "reward_high": 0.49}
    console.print(closing_table([line, line | {"when": "after", "reward": 0.5}]))
    text = console.export_text()
    assert "held-out reward and accuracy" in text and "accuracy, sampled" in text
    assert "0.5 (0.46 to 0.49)" in text and "0.0 % (0.0 to 6.0)" in text
    assert progress.score(line) == "0.0 % (0.0 to 6.0), reward 0.476 (0.46 to 0.49)"
