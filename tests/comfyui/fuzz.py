"""Many random prompts to a real server: `python tests/comfyui/run.py --fuzz [COUNT]`.

Every prompt must be refused, done, failed with a sentence of ours or in another pack, or
interrupted within 10 s; after each batch a valid one must run; and the server's memory may not grow
by more than a tenth after the first thousand.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from prompts import API, random_prompt, small
from server import ROOT, Server

BATCH = 50
WITHIN = 10  # s, to be done; and again, once interrupted
SETTLED = 1000  # prompts after which the memory may not grow further
GROWTH = 0.10
SUCCESSES = 0.05  # of the prompts, at least: else they test nothing


class Client:
    """Queues prompts one by one and tells how each ended."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.definitions = server.get("/object_info")
        self.valid = small(json.loads((API / "style_a_video_by_words.api.json").read_text("utf-8")))

    def ends(self, prompt: dict) -> str:
        """refused, success, interrupted, or an error; a ValueError where it is none of them."""
        status, answer = self.server.post("/prompt", {"prompt": prompt})
        if status == 400:
            return "refused"
        if status != 200:
            raise ValueError(f"status {status}: {answer}")
        if entry := self._waits(answer["prompt_id"]):
            return ended(entry)
        self.server.post("/interrupt", {})
        if entry := self._waits(answer["prompt_id"]):
            return ended(entry)
        raise ValueError(f"still running {WITHIN} s after the interrupt")

    def _waits(self, prompt_id: str) -> dict | None:
        began = time.monotonic()
        while time.monotonic() - began < WITHIN:
            if history := self.server.get(f"/history/{prompt_id}"):
                return history[prompt_id]
            time.sleep(0.02)
        return None

    def check_valid(self) -> None:
        self.server.run(self.valid, 120)
        self.server.post("/history", {"clear": True})

    def memory(self) -> int:
        """MiB that the server holds."""
        status = Path(f"/proc/{self.server.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) // 1024


def ended(entry: dict) -> str:
    """How, in a word.

    Raises:
        ValueError: something failed in our code, and not with a sentence of ours.
    """
    for name, message in entry["status"]["messages"]:
        if name == "execution_interrupted":
            return "interrupted"
        if name == "execution_error":
            traceback = "".join(message["traceback"])
            worded = "StyleAVideoError" in message["exception_type"]
            if "style-a-video/" in traceback and not worded:  # also inside another pack's block
                raise ValueError(
                    f"{message['node_type']}: {message['exception_type']}\n{traceback}"
                )
            return "error of ours" if worded else "error of another pack"
    if entry["status"]["status_str"] != "success":
        raise ValueError(f"ended without a message: {entry['status']}")
    return "success"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("count", nargs="?", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first prompt (%(default)s)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="comfyui-fuzz-") as folder:
        # By its default, ComfyUI 0.26 keeps the key of everything that it ever cached; and glibc's
        # heaps, one a thread, grow by a tenth for nothing that is held.
        os.environ["MALLOC_ARENA_MAX"] = "1"
        server = Server(
            Path(os.environ["COMFYUI_PATH"]), Path(folder), "style-a-video", "--cache-classic"
        )
        try:
            return run(Client(server), args.seed, args.count)
        finally:
            server.stop()


def run(client: Client, first: int, count: int) -> int:
    """1 where something was wrong, 0 otherwise."""
    client.server.add_input(ROOT / "workflows" / "example.mp4")
    client.check_valid()
    bad, ends, settled, began = 0, Counter(), None, time.monotonic()
    for number in range(count):
        seed = first + number
        prompt = random_prompt(seed, client.definitions)
        try:
            ends[client.ends(prompt)] += 1
            if (number + 1) % BATCH == 0:
                client.check_valid()
        except ValueError as error:
            bad += 1
            print(f"seed {seed}: {error}\n{json.dumps(prompt)}", flush=True)  # blocks may change
        except (OSError, RuntimeError) as error:  # no answer, or a valid prompt that did not run
            print(f"The server is lost at seed {seed} (its batch began {BATCH} before): {error}")
            return 1
        if (number + 1) % SETTLED == 0:
            settled = settled or client.memory()
            took = time.monotonic() - began
            print(f"{number + 1} in {took:.0f} s, {client.memory()} MiB: {dict(ends)}", flush=True)
    growth = client.memory() / settled - 1 if settled else 0.0
    told = f"memory {growth:+.1%} after the first {SETTLED}" if settled else "memory not checked"
    print(f"{count} prompts: {dict(ends)}, {bad} bad, {told}")
    return int(bad > 0 or growth > GROWTH or ends["success"] < SUCCESSES * count)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
