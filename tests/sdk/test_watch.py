"""Following a job: which events, in which words, over which kind of line."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from itertools import count

import openai
import pytest

from fettle import Fettle, FineTuneJob, JobTimeout
from fettle import display as display_module
from fettle.display import Live, Plain
from fettle.follow import Follow

BASE = "/v1/fine_tuning/jobs/ftjob-1"


def watched(client: Fettle, pauses: list[float] | None = None) -> FineTuneJob:
    raw = client.fine_tuning.jobs.retrieve("ftjob-1")
    return FineTuneJob(client, raw, sleep=(pauses if pauses is not None else []).append)


def scripted(wire, shapes) -> None:
    """Three polls: queued, training, succeeded."""
    summary = {key: value for key, value in shapes.SELECTION.items() if key != "candidates"}
    end = shapes.job("succeeded", fine_tuned_model="ft:tiny:org::1", fettle={"selection": summary})
    first = shapes.event(1, "Created")
    steps = [shapes.event(n + 1, data=shapes.step_data(n, 0.25 * n, valid=0.5 if n == 2 else None)) for n in (1, 2)]
    warning = shapes.event(4, "3 grades failed", level="warn")
    wire.on("GET", BASE, shapes.job("queued"), shapes.job("queued"), shapes.job("running"), end)
    wire.on(
        "GET", BASE + "/events", shapes.page(first), shapes.page(steps[0], first),
        shapes.page(warning, steps[1], steps[0], first),
    )  # fmt: skip


def test_plain_lines_are_one_for_each_change(client: Fettle, wire, shapes, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(wire, shapes)
    out = io.StringIO()
    monkeypatch.setattr(display_module.sys, "stderr", out)
    pauses: list[float] = []
    events = [event.id for event in watched(client, pauses).watch(poll_s=2.0)]
    assert events == ["ftevent-1", "ftevent-2", "ftevent-3", "ftevent-4"]
    assert pauses == [2.0, 2.0]
    assert out.getvalue() == (
        "ftjob-1: waiting for a worker\n"
        "Created\n"
        "ftjob-1: training\n"
        "step 1/4  reward 0.250  KL 0.0010  812 tokens/s  ETA 30 s\n"
        "step 2/4  reward 0.500  held-out 0.500 ± 0.098  KL 0.0020  812 tokens/s  ETA 20 s\n"
        "warning: 3 grades failed\n"
        "ftjob-1: succeeded: ft:tiny:org::1\n"
        "Improved: step 20 scores 0.750, the base 0.250 (+0.500, 95% interval +0.375 to +0.625).\n"
    )


def test_watching_resumes_behind_a_cursor(client: Fettle, wire, shapes) -> None:
    wire.on("GET", BASE, shapes.job("cancelled"))
    wire.on(
        "GET",
        BASE + "/events",
        shapes.page(shapes.event(3), shapes.event(2), has_more=True),
        shapes.page(shapes.event(1)),
    )
    assert [event.id for event in watched(client).watch(after="ftevent-1", draw=False)] == ["ftevent-2", "ftevent-3"]
    # The second page was needed to find the cursor; the third event on its own needs only the first.
    assert len(wire.asked("GET", BASE + "/events")) == 2
    wire.on("GET", BASE + "/events", shapes.page(shapes.event(3), shapes.event(2), has_more=True))
    assert [event.id for event in watched(client).watch(after="ftevent-2", draw=False)] == ["ftevent-3"]
    assert len(wire.asked("GET", BASE + "/events")) == 3


def test_a_lost_server_is_waited_for_with_growing_pauses(client: Fettle, wire, shapes, monkeypatch) -> None:
    error = shapes.Answer({"error": {"message": "down", "type": "server_error", "param": None, "code": None}}, 503)
    wire.on(
        "GET", BASE, shapes.job("running"), error, error, error, shapes.job("running"), error, shapes.job("succeeded")
    )
    wire.on("GET", BASE + "/events", shapes.page())
    out = io.StringIO()
    monkeypatch.setattr(display_module.sys, "stderr", out)
    pauses: list[float] = []
    list(watched(client, pauses).watch(poll_s=5.0))
    assert pauses == [1.0, 2.0, 4.0, 5.0, 1.0]  # after an answer the pauses start small again
    assert "no answer from the server" in out.getvalue()
    assert "trying again in 4 s" in out.getvalue()


def test_refusals_are_not_retried(client: Fettle, wire, shapes) -> None:
    gone = shapes.Answer({"error": {"message": "gone", "type": "x", "param": None, "code": "not_found"}}, 404)
    wire.on("GET", BASE, shapes.job("running"), gone)
    with pytest.raises(openai.NotFoundError):
        list(watched(client).watch(draw=False))


def test_pauses_stop_growing_and_an_hour_of_silence_ends_it() -> None:
    follow = Follow()
    error = openai.APIConnectionError(request=None)  # the request plays no part
    pauses: list[float] = []

    def ask_for_ever() -> None:
        for _ in count():
            pauses.append(follow.failed(error))

    with pytest.raises(openai.APIConnectionError):
        ask_for_ever()
    assert pauses[:7] == [1, 2, 4, 8, 16, 30, 30]
    assert 3570 <= sum(pauses) <= 3600


def test_a_deadline_shortens_the_last_pause_then_raises() -> None:
    follow = Follow(deadline_s=110.0)
    assert follow.pause(5.0, 100.0) == 5.0
    assert follow.pause(5.0, 108.0) == 2.0
    with pytest.raises(JobTimeout):
        follow.pause(5.0, 110.0)
    assert Follow().pause(5.0, 1e9) == 5.0


def test_wait_gives_up_after_its_timeout(client: Fettle, wire, shapes) -> None:
    wire.on("GET", BASE, shapes.job("running"))
    wire.on("GET", BASE + "/events", shapes.page())
    with pytest.raises(JobTimeout, match="has not ended"):
        watched(client).wait(timeout=0, draw=False)


def test_ctrl_c_detaches_and_says_how_to_come_back(client: Fettle, wire, shapes, monkeypatch) -> None:
    def interrupted(delay_s: float) -> None:
        raise KeyboardInterrupt

    wire.on("GET", BASE, shapes.job("running"))
    wire.on("GET", BASE + "/events", shapes.page())
    out = io.StringIO()
    monkeypatch.setattr(display_module.sys, "stderr", out)
    job = FineTuneJob(client, client.fine_tuning.jobs.retrieve("ftjob-1"), sleep=interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(job.watch())
    assert out.getvalue() == (
        "ftjob-1: training\nDetached. The job goes on; watch it again with: fettle jobs watch ftjob-1\n"
    )
    assert all(request.method == "GET" for request in wire.requests)


def test_the_display_follows_the_kind_of_stream() -> None:
    assert isinstance(display_module.display_for(None, io.StringIO()), Plain)
    primary, secondary = pty.openpty()
    with os.fdopen(secondary, "w") as terminal:
        live = display_module.display_for(None, terminal)
        assert isinstance(live, Live)
        live.close()
    os.close(primary)


def test_a_terminal_gets_the_panel(wire, shapes) -> None:
    scripted(wire, shapes)
    wire.on(
        "GET", BASE, shapes.job("queued"), shapes.job("running"), shapes.job("running"), wire.answers["GET", BASE][-1]
    )
    code = (
        "from fettle import Fettle\n"
        f"job = Fettle(base_url={wire.url!r}, api_key='k').fettle.job('ftjob-1')\n"
        "list(job.watch(poll_s=0.3))\n"
    )
    text = on_a_terminal([sys.executable, "-c", code])
    assert "ftjob-1" in text
    assert "step 2/4" in text
    assert "━" in text  # the bar
    assert "▁█" in text  # the rewards 0.25 and 0.5 as a sparkline
    assert "held-out 0.500 ± 0.098" in text
    assert "warning: 3 grades failed" in text
    assert "Improved: step 20" in text


def on_a_terminal(command: list[str]) -> str:
    """Run a command whose standard error is a terminal of 120 columns and return what it drew."""
    primary, secondary = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=secondary, stderr=secondary, env=environment
    ) as process:
        os.close(secondary)
        chunks = []
        while True:
            try:
                chunk = os.read(primary, 65536)
            except OSError:  # the terminal closed with the process
                break
            if not chunk:
                break
            chunks.append(chunk)
        os.close(primary)
        assert process.wait(30) == 0, b"".join(chunks).decode()
    return b"".join(chunks).decode()
