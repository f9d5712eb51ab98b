"""The event stream: one look for all listeners, nothing missed, nothing of others."""

import asyncio
import re
import threading

import httpx
import pytest

from fettle_platform.jobs.hints import Change, JobWatch
from fettle_platform.jobs.stream import _KEPT, Hub


class Changes:
    """A look whose findings the test decides; counts how often it was made anew."""

    def __init__(self):
        self.made, self.next = 0, []

    def __call__(self):
        self.made += 1
        return self.look

    def look(self):
        found, self.next = self.next, []
        return found


def job(number, *, project=1, status="running"):
    return Change(project, f"ftjob-{number}", status)


async def until(frames, wanted):
    """The first frame that holds `wanted`, with what came before it."""
    seen = []
    async with asyncio.timeout(10):
        async for frame in frames:
            seen.append(frame.decode())
            if wanted in seen[-1]:
                return seen
    raise AssertionError(f"the stream ended after {seen}")


def id_of(frame):
    return re.search(r"^id: (\S+)$", frame, re.MULTILINE)[1]


@pytest.fixture
def changes():
    return Changes()


@pytest.fixture
def hub(changes):
    return Hub(lambda: changes.look, poll_s=0.01)


def test_a_listener_begins_with_a_reset_and_hears_of_its_own_projects_alone(hub, changes):
    async def listen():
        frames = hub.frames({1, 2})
        assert "event: reset" in (await until(frames, "reset"))[-1]
        changes.next = [job(1), job(7, project=3), job(2, project=2), job(1, status="succeeded")]
        return (await until(frames, "data:"))[-1]

    assert 'data: {"jobs": {"ftjob-1": "succeeded", "ftjob-2": "running"}}' in asyncio.run(listen())


def test_whoever_comes_back_with_the_last_id_hears_what_was_missed_and_no_more(hub, changes):
    async def come_back():
        stays, leaves = hub.frames({1}), hub.frames({1})
        await until(stays, "reset")
        await until(leaves, "reset")
        changes.next = [job(1)]
        last = id_of((await until(leaves, "ftjob-1"))[-1])
        await leaves.aclose()
        await until(stays, "ftjob-1")
        changes.next = [job(2)]
        await until(stays, "ftjob-2")
        return await until(hub.frames({1}, last_id=last), "data:")

    told = asyncio.run(come_back())
    assert "reset" not in "".join(told)
    assert 'data: {"jobs": {"ftjob-2": "running"}}' in told[-1]


@pytest.mark.parametrize("last_id", ["", "another-0", "-", "x-²"])
def test_an_id_that_is_not_known_gets_a_reset(hub, last_id):
    assert "event: reset" in asyncio.run(until(hub.frames({1}, last_id=last_id), "id:"))[-1]


def test_a_listener_that_is_too_slow_is_reset_instead_of_kept_in_memory(hub, changes):
    async def fall_behind():
        slow, quick = hub.frames({1}), hub.frames({1})
        await until(slow, "reset")
        await until(quick, "reset")
        changes.next = [job(number) for number in range(_KEPT + 1)]
        await until(quick, "data:")
        assert len(hub._ring) == _KEPT
        return (await until(slow, "id:"))[-1]

    assert "event: reset" in asyncio.run(fall_behind())


def test_all_listeners_share_one_look_which_ends_with_the_last_of_them(changes):
    hub = Hub(changes, poll_s=0.01)

    async def come_and_go():
        for _ in range(2):
            streams = [hub.frames({1}) for _ in range(50)]
            for stream in streams:
                await until(stream, "reset")
            assert hub.num_listeners == 50
            for stream in streams:
                await stream.aclose()
            assert (hub.num_listeners, hub._task) == (0, None)

    asyncio.run(come_and_go())
    assert changes.made == 2


def test_a_silent_stream_is_kept_open_by_comments_and_ends_after_its_time(hub):
    async def wait():
        return [frame.decode() async for frame in hub.frames({1}, heartbeat_s=0.02, life_s=0.1)]

    frames = asyncio.run(wait())
    assert frames[0].startswith("retry: ")
    assert frames.count(": still here\n\n") >= 2


def test_a_look_that_fails_is_made_again(changes):
    def fail_once():
        if changes.made == 0:
            changes.made = 1
            raise OSError("the database is away")
        return changes.look()

    hub = Hub(lambda: fail_once, poll_s=0.01)
    assert "event: reset" in asyncio.run(until(hub.frames({1}), "id:"))[-1]


def test_closing_ends_every_stream(hub):
    async def close():
        streams = [hub.frames({1}) for _ in range(3)]
        for stream in streams:
            await until(stream, "reset")
        hub.close()
        async with asyncio.timeout(5):
            return [[frame async for frame in stream] for stream in streams]

    assert asyncio.run(close()) == [[], [], []]


def test_a_watch_tells_each_change_of_a_job_once(create, queued, worker, said):
    look = JobWatch()
    assert look() == []
    created = create()
    assert [(one.job_id, one.status) for one in look()] == [(created.public_id, "validating_files")]
    assert look() == []
    busy = worker(queued(suffix="other"))
    assert [one.status for one in look()] == ["running"]
    busy.start()
    assert len(look()) == 1
    busy.train(1, 2)
    assert len(look()) == 1
    assert look() == []
    busy.say(said.Failed(code="internal_error", message="it broke"))
    assert [one.status for one in look()] == ["failed"]
    assert look() == []


def test_a_watch_reads_no_job_that_is_over(create, worker, said, django_assert_num_queries):
    worker().say(said.Failed(code="internal_error", message="it broke"))
    look = JobWatch()
    look()
    alive = create()
    with django_assert_num_queries(1):
        assert [one.job_id for one in look()] == [alive.public_id]
    assert len(look._alive) == 1


def test_idle_streams_take_no_thread_from_other_requests(http, create):
    """More streams than a pool has threads: the API answers beside them, and each is told of a new job."""
    with httpx.Client(base_url=http.base_url, headers=http.headers, timeout=30, limits=httpx.Limits()) as client:
        responses = [client.send(client.build_request("GET", "/v1/fettle/stream"), stream=True) for _ in range(60)]
        streams = [response.iter_lines() for response in responses]
        for stream in streams:
            assert any(line == "event: reset" for line in stream)
        num_threads = threading.active_count()
        assert client.get("/v1/models").status_code == 200
        created = create()
        for stream in streams:
            assert any(created.public_id in line for line in stream)
        assert threading.active_count() <= num_threads + 2
        assert responses[0].headers["content-type"] == "text/event-stream"
        assert "no-transform" in responses[0].headers["cache-control"]
        for response in responses:
            response.close()


def test_nobody_listens_without_a_name_or_with_another_method(http, error_of):
    error_of(httpx.get(f"{http.base_url}/v1/fettle/stream"), 401)
    error_of(http.post("/v1/fettle/stream"), 405)


def test_under_wsgi_the_stream_is_refused_instead_of_holding_the_process(api, error_of):
    assert "WSGI" in error_of(api.get("/v1/fettle/stream"), 503)["message"]
