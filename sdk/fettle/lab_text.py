"""Reports of the lab as text: for terminals, notebooks and logs alike. Pure functions of what the server sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Report = Mapping[str, Any]

_BAR = 30
_MARKS = {"blocks": "✗", "fix": "!", "note": "·"}


def preflight_text(run: Report) -> str:
    """Verdict, numbers with bounds, the histogram of the rows' means, and the findings with what to do."""
    report = run.get("report")
    if not report:
        error = run.get("error") or {}
        return f"{run['id']}  {run['status']}: {error.get('message') or run.get('phase') or ''}".rstrip(": ")
    counts, grader, speed = report["counts"], report["grader"], report["speed"]
    lines = [
        f"{run['id']}  {report['summary']}",
        "",
        *_split(counts),
        "",
        _line("passes", "   ".join(f"pass@{entry['k']} {_number(entry['estimate'])}" for entry in report["pass_at"])),
        _line("signal", "   ".join(_group(share) for share in report["signal"])),
        _line("answers", f"{report['truncated_share']:.0%} cut off, {grader['unreadable_share']:.0%} unreadable, "
              f"{grader['failed_share']:.0%} of grades failed{_latency(grader)}"),
        _line("base", _held_out(report.get("held_out"))),
        _line("job", _job(report["duration"], speed)),
        _line("memory", _memory(report["memory"])),
    ]  # fmt: skip
    rewards = report.get("rewards")
    if rewards:
        lines += ["", "mean reward of each row", *bars(rewards["histogram_edges"], rewards["histogram_counts"])]
    for finding in report["findings"]:
        lines += [
            "",
            f"{_MARKS.get(finding['severity'], '·')} {finding['code']}: {finding['message']}",
            f"  → {finding['next_step']}",
        ]
    return "\n".join(lines)


_STATES = {"dead": "all equal, low", "teachable": "they differ", "solved": "all equal, high", "ungraded": "no grades"}


def _split(counts: Report) -> list[str]:
    """A bar for each state of rows, by what their answers scored."""
    num_rows = sum(counts[state] for state in _STATES) or 1
    lines = []
    for state, words in _STATES.items():
        share = _percent(counts["teachable_share"]) if state == "teachable" else f"{counts[state] / num_rows:.0%}"
        bar = "█" * max(1 if counts[state] else 0, round(_BAR * counts[state] / num_rows))
        lines.append(_line(state, f"{bar:<{_BAR}} {counts[state]} ({share}; {words})"))
    return lines


def bars(edges: Sequence[float], counts: Sequence[int]) -> list[str]:
    """A histogram, two bins a line where there are many, empty ends left out."""
    joined = [(edges[i], sum(counts[i : i + 2])) for i in range(0, len(counts), 2)]
    shown = [i for i, (_, count) in enumerate(joined) if count]
    if not shown:
        return []
    most = max(count for _, count in joined)
    return [
        f"  {low:5.2f} {'█' * max(1 if count else 0, round(_BAR * count / most)):<{_BAR}} {count}"
        for low, count in joined[shown[0] : shown[-1] + 1]
    ]


def test_text(report: Report) -> str:
    lines = [f"{report['num_answers']} answers to {report['num_rows']} rows ({report['source']})"]
    scores = report.get("scores")
    if scores:
        lines += [
            _line("score", f"mean {_number(scores['mean'])}, spread {scores['std']:.3f}"
                  f"{_inside(scores.get('within_row_std'))}"),
            _line("exactly", f"{scores['share_zero']:.0%} score 0, {scores['share_one']:.0%} score 1"),
            *bars(scores["histogram_edges"], scores["histogram_counts"]),
        ]  # fmt: skip
    lines += _grading(report["grading"])
    gold = report.get("gold")
    if gold:
        verdict = f"{gold['num_missed']} of {gold['num_checked']} right answers do not score at the top"
        lines.append(_line("gold", verdict if gold["num_missed"] else f"all {gold['num_checked']} score at the top"))
        lines += [f"  row {miss['row']}: {miss['reason']}, {_score(miss)}" for miss in gold["missed"][:10]]
    return "\n".join(lines)


def red_team_text(report: Report) -> str:
    lines = [report["summary"], ""]
    for attack in report["attacks"]:
        mark = "✗" if attack["num_fooled"] else "·"
        best = "-" if attack["max_score"] is None else f"{attack['max_score']:g}"
        lines.append(
            f"{mark} {attack['name']:<16} {attack['num_fooled']:>3} of {attack['num_rows']:<3} best {best:<6} "
            f"{attack['description']}"
        )
    return "\n".join([*lines, *_grading(report["grading"])])


def regrade_text(report: Report) -> str:
    lines = [report["summary"], _line("compared", f"{report['num_compared']} answers in {report['num_groups']} groups")]
    for name, label in (("spearman", "order"), ("changed_winners", "winners"), ("flipped", "flipped")):
        lines.append(_line(label, _number(report.get(name))))
    for flip in report["flips"][:5]:
        text = " ".join(flip["text"].split())[:60]
        lines.append(f"  row {flip['row']}: {flip['old_reward']:g} → {flip['new_reward']:g}  {text}")
    return "\n".join([*lines, *_grading(report["grading"])])


def calibration_text(report: Report) -> str:
    lines = [f"{report['verdict'].replace('_', ' ')}: {report['num_answers']} rated answers"]
    for name in ("spearman", "agreement", "kappa", "repeat_noise", "group_spread", "length_bias"):
        if report.get(name):
            lines.append(_line(name.replace("_", " "), _number(report[name])))
    return "\n".join([*lines, *_grading(report["grading"]), *(f"! {warning}" for warning in report["warnings"])])


def _line(label: str, text: str) -> str:
    return f"{label:<13}{text}"


def _number(estimate: Report | None) -> str:
    if not estimate:
        return "not defined"
    low, high = estimate.get("low"), estimate.get("high")
    bounds = "" if low is None or high is None else f" [{low:.2f}, {high:.2f}]"
    return f"{estimate['value']:.2f}{bounds}"


def _percent(estimate: Report) -> str:
    low, high = estimate.get("low"), estimate.get("high")
    bounds = "" if low is None or high is None else f", {low:.0%} to {high:.0%}"
    return f"{estimate['value']:.0%}{bounds}"


def _group(share: Report) -> str:
    return f"{'of this job, ' if share['planned'] else ''}{share['group_size']}: {share['estimate']['value']:.0%}"


def _latency(grader: Report) -> str:
    p50, p95 = grader.get("latency_p50_s"), grader.get("latency_p95_s")
    return "" if p50 is None or p95 is None else f"; a grade takes {1000 * p50:.1f} ms, 95 % within {1000 * p95:.1f} ms"


def _held_out(held_out: Report | None) -> str:
    if not held_out:
        return "no held-out answer could be graded"
    where = "training rows" if held_out["in_sample"] else "held-out rows"
    return f"{held_out['mean']:.3f} ± {held_out['standard_error']:.3f} on {held_out['num_items']} {where}"


def _job(duration: Report, speed: Report) -> str:
    steps, low, high = duration["total_steps"], duration["low_s"], duration["high_s"]
    return f"{steps} steps, {_time(low)} to {_time(high)} ({speed['tokens_per_s']:.0f} tokens/s)"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _memory(memory: Report) -> str:
    return f"{memory['peak_bytes'] / 2**30:.1f} of {memory['total_bytes'] / 2**30:.1f} GiB ({memory['device']})"


def _inside(spread: float | None) -> str:
    return "" if spread is None else f", {spread:.3f} inside rows"


def _score(miss: Report) -> str:
    scored = "not graded" if miss["score"] is None else f"scores {miss['score']:g}"
    return scored if miss.get("best_score") is None else f"{scored}, another answer {miss['best_score']:g}"


def _grading(grading: Report) -> list[str]:
    lines = []
    if grading["num_failed"]:
        first = f": {grading['messages'][0]}" if grading["messages"] else ""
        lines.append(_line("failed", f"{grading['num_failed']} grades ({grading['failed_share']:.0%}){first}"))
    if grading["latency_p95_s"] is not None:
        p50, p95 = 1000 * grading["latency_p50_s"], 1000 * grading["latency_p95_s"]
        tokens = grading.get("judge_tokens_per_1000")
        judge = "" if tokens is None else f"; {tokens:.0f} judge tokens per 1000 answers"
        lines.append(_line("latency", f"{p50:.1f} ms, 95 % within {p95:.1f} ms{judge}"))
    if not grading["complete"]:
        lines.append(_line("incomplete", "the time was over; only the first rows were graded"))
    return lines
