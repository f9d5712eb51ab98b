from __future__ import annotations

from fettle.progress import Progress, duration, event_line, reading, sparkline
from fettle.results import FileReport, Selection, verdict_text, why_text


def test_a_metrics_event_is_read_from_the_nested_keys(shapes) -> None:
    found = reading(shapes.step_data(2, 0.5, valid=0.4))
    assert (found.step, found.total_steps, found.train_reward, found.valid_reward) == (2, 4, 0.5, 0.4)
    assert (found.kl_nats, found.tokens_per_s, found.eta_s) == (0.002, 812.4, 20.0)
    # 95 %: 1.96 standard errors of 0.05.
    assert found.valid_margin == 1.96 * 0.05


def test_the_older_flat_keys_do_too() -> None:
    found = reading({"step": 3, "train_mean_reward": 0.25, "full_valid_mean_reward": 0.5})
    assert (found.step, found.train_reward, found.valid_reward) == (3, 0.25, 0.5)
    assert reading({"step": 3, "train_loss": 1.5}).train_loss == 1.5
    assert reading(None) == reading({"step": "3", "scores": None, "fettle": []})


def test_a_step_without_evaluation_keeps_the_last_held_out_score(shapes) -> None:
    progress = Progress("ftjob-1").with_event(shapes.step_data(1, 0.25, valid=0.5))
    progress = progress.with_event(shapes.step_data(2, 0.75))
    assert (progress.latest.step, progress.latest.valid_reward) == (2, 0.5)
    assert progress.rewards == (0.25, 0.75)


def test_lines_of_events(shapes) -> None:
    line = event_line("Step 1/4", level="info", data=shapes.step_data(1, 0.25, valid=0.5))
    assert line == "step 1/4  reward 0.250  held-out 0.500 ± 0.098  KL 0.0010  812 tokens/s  ETA 30 s"
    assert event_line("grader failed", level="warn", data=None) == "warning: grader failed"
    assert event_line("done", level="info", data={}) == "done"
    assert event_line("x", level="info", data={"step": 1, "train_loss": 2.0, "full_valid_loss": 1.0}) == (
        "step 1  loss 2.000  held-out loss 1.000"
    )


def test_durations_in_words() -> None:
    assert [duration(s) for s in (9.4, 89, 240, 7500)] == ["9 s", "89 s", "4 min", "2 h 05 min"]


def test_a_sparkline_spans_lowest_to_highest() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([0.5, 0.5]) == "▁▁"
    assert sparkline([]) == ""
    # Eight values in four buckets: the means are 0.5, 2.5, 4.5, 6.5.
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], width=4) == "▁▃▆█"


def test_why_shows_verdict_rule_and_candidates(shapes) -> None:
    assert why_text(Selection.construct(**shapes.SELECTION)) == (
        "Improved: step 20 scores 0.750, the base 0.250 (+0.500, 95% interval +0.375 to +0.625).\n"
        "Rule: lowest KL within one standard error of the best\n"
        "Measured on 40 held-out rows.\n"
        "  step  score   KL      why\n"
        "  0     0.250   0.0000  worse than the best by more than one standard error\n"
        "> 20    0.750   0.0125  the best"
    )


def test_no_gain_is_said_plainly(shapes) -> None:
    none = {**shapes.SELECTION, "verdict": "no_measurable_gain", "chosen_step": 0, "gain": 0.0, "gain_low": -0.1,
            "gain_high": 0.1, "chosen_mean": 0.25}  # fmt: skip
    assert verdict_text(Selection.construct(**none)) == (
        "No measurable gain: the base scores 0.250 and nothing was measurably better "
        "(+0.000, 95% interval -0.100 to +0.100). The delivered model is step 0."
    )
    # A gain on rows that were trained on is no gain, however sure it is.
    trained_on = {**none, "in_sample": True, "chosen_step": 3, "gain": 0.2, "gain_low": 0.1, "gain_high": 0.3}
    assert verdict_text(Selection.construct(**{**trained_on, "chosen_mean": 0.45})) == (
        "No measurable gain: too few rows to hold any out, so nothing is known about new prompts. On the rows it was "
        "trained on, step 3 scores 0.450, the base 0.250 (+0.200, 95% interval +0.100 to +0.300)."
    )


def test_a_file_report_says_where_what_was_found_and_what_was_expected() -> None:
    cause = {
        "code": "invalid_role", "severity": "error", "path": "messages[].role", "message": "unknown role",
        "expected": "user or assistant", "count": 7,
        "examples": [{"line": 3, "path": "messages.1.role", "found": "usr"}, {"line": 9, "path": "", "found": "x"}],
    }  # fmt: skip
    report = FileReport.construct(num_rows=20, causes=[cause, {**cause, "severity": "warning"}])
    assert [str(problem) for problem in report.errors] == [
        "lines 3, 9 and 5 more: messages[].role: unknown role; found usr; expected user or assistant"
    ]
    assert len(report.warnings) == 1


def test_a_verdict_that_names_a_step_does_not_move_the_bar(shapes):
    progress = Progress("ftjob-1").with_event(shapes.step_data(9, 0.25, valid=0.5))
    assert progress.with_event({"step": 4, "verdict": "improved"}) == progress
