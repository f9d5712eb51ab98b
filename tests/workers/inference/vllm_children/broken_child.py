"""The other end of `VllmSampler` for a model whose every token is equally likely, with one fault.

    python broken_child.py FAULT NOTES

NOTES is a file in which each child of a test writes a line when it starts, so that a later one may behave otherwise.
"""

import json
import math
import os
import random
import signal
import sys
import time
from pathlib import Path

VOCABULARY = 264
FAULT, NOTES = sys.argv[1], Path(sys.argv[2])
with NOTES.open("a") as notes:
    notes.write("started\n")
IS_FIRST = len(NOTES.read_text().splitlines()) == 1
version, calls = 0, 0


def say(**message):
    print(json.dumps(message), flush=True)


def complete(message):
    """All completions but those that the fault swallows; the fault shows in calls that are no probes."""
    shift = 0.8 if FAULT == "wrong" or (FAULT == "wrong at first" and version == 1) else 0.0
    for request in message["requests"]:
        for sample, seed in request["seeds"]:
            length = 1 + seed % request["max_new_tokens"]
            ids = random.Random(seed).choices(range(VOCABULARY), k=length)
            logprobs = [-math.log(VOCABULARY) - shift] * length
            told = {"call": message["call"], "request": request["index"], "sample": sample, "finish": "stop"}
            say(type="completion", ids=ids, logprobs=logprobs, **told)
            if len(message["requests"][0]["seeds"]) > 1:
                fail()


def fail():
    if FAULT == "crash" or (FAULT == "crash once" and IS_FIRST):
        print("the kernel fell over", file=sys.stderr, flush=True)
        sys.exit(9)
    if FAULT == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if FAULT == "hang":
        time.sleep(3600)
    if FAULT == "garbage":
        print("INFO 11-21 a line that some library printed", flush=True)
    if FAULT == "twice":
        say(type="completion", call=calls, request=0, sample=0, ids=[1], logprobs=[-1.0], finish="stop")
    if FAULT == "no memory":
        say(type="failed", why="memory", message="OutOfMemoryError: 3 GiB were asked for")
    if FAULT == "leaves out":
        say(type="done", call=calls, rss_bytes=10**9)


json.loads(sys.stdin.readline())
if FAULT == "never starts":
    time.sleep(3600)
if FAULT == "old":
    say(type="failed", why="version", message="it has vLLM 0.9.1, needed is 0.32 or newer")
if FAULT == "unservable":
    say(type="failed", why="unservable", message="ValueError: Model architectures ['Mamba3'] are not supported for now")
say(type="ready", vllm="0.32.0", rss_bytes=10**9)
for line in sys.stdin:
    message = json.loads(line)
    if message["do"] == "load":
        assert (Path(message["path"]) / "adapter_model.safetensors").is_file()
        version = message["version"]
        say(type="loaded", version=version, rss_bytes=10**9)
    elif message["do"] == "sample":
        calls = message["call"]
        complete(message)
        grown = calls * 10**8 if FAULT == "grows" else 0
        say(type="done", call=calls, rss_bytes=10**9 + grown)
