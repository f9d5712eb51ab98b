"""The other end of `VllmSampler` without vLLM: the same messages, answered by Fettle's own sampler."""

import json
import sys
from contextlib import nullcontext
from pathlib import Path

from fettle_workers.engine.model import load_base, use_threads
from fettle_workers.engine.sampler import Request, SamplingParams, TorchSampler


def say(**message):
    print(json.dumps(message), flush=True)


def sample(policy, message):
    asked = message["requests"]
    requests = [
        Request(
            tuple(one["prompt_ids"]),
            tuple(seed for _, seed in one["seeds"]),
            SamplingParams(one["max_new_tokens"], one["temperature"], one["top_p"], frozenset(one["stop_ids"])),
        )
        for one in asked
    ]
    with nullcontext() if message["adapter_on"] else policy.reference():
        for found in TorchSampler(policy).sample(requests, SamplingParams(1)):
            one = asked[found.request_index]
            say(
                type="completion",
                call=message["call"],
                request=one["index"],
                sample=one["seeds"][found.sample_index][0],
                ids=found.ids,
                logprobs=found.logprobs,
                finish=found.finish_reason,
            )
    say(type="done", call=message["call"], rss_bytes=10**9)


use_threads(1)
start = json.loads(sys.stdin.readline())
base = load_base(Path(start["model"]), base_model_id="small")
policy = base.new_adapter()
say(type="ready", vllm="0.32.0", rss_bytes=10**9)
for line in sys.stdin:
    message = json.loads(line)
    if message["do"] == "load":
        policy = base.with_adapter(Path(message["path"]))
        say(type="loaded", version=message["version"], rss_bytes=10**9)
    elif message["do"] == "sample":
        sample(policy, message)
