"""The process that runs vLLM: token ids in, token ids and logprobs out.

It runs in vLLM's own environment, where Fettle is not installed: it is started by path and imports vLLM and the
standard library alone. `adapters/vllm_sampler.py` is the other end, and its process id the only argument. One JSON
object a line each way:

    to it    {"do": "start", ...}    first, once; its fields are those that `_engine_arguments` reads
             {"do": "load", "version": 3, "path": "/dev/shm/..."}    this adapter from now on
             {"do": "sample", "call": 7, "adapter_on": true, "requests": [...]}    each one as in `Server._add`
             {"do": "stop"}          the running call is not wanted any more
    from it  {"type": "ready", "vllm": "0.32.0", "rss_bytes": ...}
             {"type": "loaded", "version": 3, "rss_bytes": ...}
             {"type": "completion", "call": 7, "request": 0, "sample": 0, "ids", "logprobs", "finish": "stop"}
             {"type": "alive"}         every second of a running call
             {"type": "done", "call": 7, "rss_bytes": ...}
             {"type": "failed", "why": "version" | "unservable" | "memory" | "other", "message": "..."}    then it ends

Standard input at its end, or another parent than that one, means that nobody waits any more: it leaves at once.
"""

from __future__ import annotations

import json
import os
import queue
import re
import sys
import threading
import time
import traceback
from typing import IO, Any

OLDEST = (0, 32)
SERVED_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
CPU_CACHE_BYTES = 2**30
_ALIVE_S = 1.0


class Failed(Exception):
    """What the other end is told before this process ends."""

    def __init__(self, why: str, message: str) -> None:
        super().__init__(message)
        self.why = why


def main() -> int:
    out = _claim_standard_output()
    inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(inbox,), daemon=True).start()
    threading.Thread(target=_leave_with_parent, args=(int(sys.argv[1]),), daemon=True).start()
    try:
        server = Server(out, inbox, inbox.get())
        while True:
            message = inbox.get()
            if message["do"] == "load":
                server.load(message["version"], message["path"])
            elif message["do"] == "sample":
                server.sample(message)
    except Exception as error:
        traceback.print_exc()
        told = error if isinstance(error, Failed) else Failed(_kind(error), f"{type(error).__name__}: {error}")
        _say(out, {"type": "failed", "why": told.why, "message": str(told)})
        return 1


class Server:
    """A started vLLM engine with one adapter on it."""

    def __init__(self, out: IO[str], inbox: queue.SimpleQueue[dict[str, Any]], start: dict[str, Any]) -> None:
        self._out = out
        self._inbox = inbox
        self._adapter: Any = None
        version = _check_version()
        from vllm import EngineArgs, LLMEngine

        try:
            self._engine = LLMEngine.from_engine_args(EngineArgs(**_engine_arguments(start)))
        except (ValueError, NotImplementedError, TypeError, AssertionError) as error:
            why = _kind(error)
            raise Failed("unservable" if why == "other" else why, f"{type(error).__name__}: {error}") from error
        self._say({"type": "ready", "vllm": version, "rss_bytes": rss_bytes()})

    def load(self, version: int, path: str) -> None:
        """Take an adapter folder. A fresh name, id and path every time: under a known id vLLM keeps the old weights."""
        from vllm.lora.request import LoRARequest

        before, self._adapter = self._adapter, LoRARequest(f"v{version}", version, path)
        try:
            self._engine.add_lora(self._adapter)
        except ValueError as error:
            raise Failed("unservable", f"the adapter cannot be loaded: {error}") from error
        if before is not None:
            self._engine.remove_lora(before.lora_int_id)
        self._say({"type": "loaded", "version": version, "rss_bytes": rss_bytes()})

    def sample(self, message: dict[str, Any]) -> None:
        """Run all requests of a call; each completion is told when it ends."""
        call, adapter = message["call"], self._adapter if message["adapter_on"] else None
        names = [name for request in message["requests"] for name in self._add(call, request, adapter)]
        told = time.monotonic()
        while self._engine.has_unfinished_requests():
            for output in self._engine.step():
                if output.finished:
                    self._tell(call, output)
            if not self._inbox.empty():
                self._inbox.get()  # only "stop" comes during a call
                self._engine.abort_request(names)
            if time.monotonic() - told > _ALIVE_S:
                told = time.monotonic()
                self._say({"type": "alive"})
        self._say({"type": "done", "call": call, "rss_bytes": rss_bytes()})

    def _add(self, call: int, request: dict[str, Any], adapter: Any) -> list[str]:
        """Enqueue one request per seed. vLLM's prefix cache reads their prompt once, in whole blocks."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        names = []
        for sample, seed in request["seeds"]:
            names.append(f"{call}/{request['index']}/{sample}")
            params = SamplingParams(
                max_tokens=request["max_new_tokens"],
                temperature=request["temperature"],
                top_p=request["top_p"],
                seed=seed % 2**63,
                stop_token_ids=request["stop_ids"],
                ignore_eos=True,  # `stop_ids` say everything
                logprobs=0,  # of the drawn token alone
                flat_logprobs=True,
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            prompt = {"prompt_token_ids": request["prompt_ids"]}
            self._engine.add_request(names[-1], prompt, params, lora_request=adapter)
        return names

    def _tell(self, call: int, output: Any) -> None:
        _, request, sample = output.request_id.split("/")
        completion = output.outputs[0]
        if completion.finish_reason not in ("stop", "length"):
            if completion.finish_reason == "abort":
                return
            raise Failed("other", f"vLLM ended a completion with {completion.finish_reason!r}")
        self._say(
            {
                "type": "completion",
                "call": call,
                "request": int(request),
                "sample": int(sample),
                "ids": list(completion.token_ids),
                "logprobs": completion.logprobs.logprobs,
                "finish": completion.finish_reason,
            }
        )

    def _say(self, message: dict[str, Any]) -> None:
        _say(self._out, message)


def _engine_arguments(start: dict[str, Any]) -> dict[str, Any]:
    """vLLM's names for what the other end asked for."""
    on_cpu = start["device"] == "cpu"
    memory = (
        {
            "kv_cache_memory_bytes": CPU_CACHE_BYTES,
            "block_size": 32,
            # A prompt read in two parts rewinds its request's generator, which those of a CPU cannot: RuntimeError.
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(2048, start["max_length"]),
        }
        if on_cpu
        else {"gpu_memory_utilization": start["memory_share"]}
    )
    return memory | {
        "model": start["model"],
        "revision": start["revision"],
        "dtype": start["dtype"],
        "max_model_len": start["max_length"],
        "max_num_seqs": start["num_slots"],
        "enforce_eager": on_cpu,  # compiling was measured to gain nothing there
        "skip_tokenizer_init": True,
        "generation_config": "vllm",  # nothing of the model's own sampling settings
        "hf_overrides": {"head_dtype": "float32"},
        "logprobs_mode": "processed_logprobs",  # temperature and top_p applied
        "enable_prefix_caching": True,
        "enable_lora": True,
        "max_lora_rank": next((rank for rank in SERVED_RANKS if rank >= start["lora_rank"]), start["lora_rank"]),
        "max_loras": 1,
        "max_cpu_loras": 2,  # the next version is loaded before the last one goes
        "disable_log_stats": True,
    }


def _check_version() -> str:
    try:
        import vllm
    except ImportError as error:
        raise Failed("version", f"vLLM cannot be imported by {sys.executable}: {error}") from error
    numbers = tuple(int(part) for part in re.findall(r"\d+", vllm.__version__)[:2])
    if numbers < OLDEST:
        raise Failed("version", f"{sys.executable} has vLLM {vllm.__version__}, needed is 0.32 or newer")
    return vllm.__version__


def _kind(error: BaseException) -> str:
    """vLLM has no class for a machine that is too small; its messages have these words in common."""
    memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    words = ("out of memory", "can't allocate memory", "available memory", "free memory", "kv cache is needed")
    return "memory" if memory or any(word in str(error).lower() for word in words) else "other"


def rss_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _claim_standard_output() -> IO[str]:
    """Keep standard output for messages; whatever else prints, prints to standard error."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stream


def _say(out: IO[str], message: dict[str, Any]) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


def _read(inbox: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        inbox.put(json.loads(line))
    os._exit(0)


def _leave_with_parent(parent: int) -> None:
    """Standard input does not end while some other process that the parent forked holds its other end."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
