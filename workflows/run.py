"""Runs an API workflow on a ComfyUI server and fetches what it made.

python workflows/run.py workflows/api/style_a_video_by_words.api.json --input my.mp4 \\
    --prompt "oil painting" --seed 3 --out result.mp4

Ctrl-C cancels the run on the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import uuid
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path, PureWindowsPath
from typing import Any

import aiohttp

FOLDER = Path(__file__).parent
Prompt = dict[str, dict[str, Any]]

CLIPS = {"StyleAVideoLoadFrames": "file", "LoadVideo": "file"}
TEXTS = {
    "StyleAVideoStylize": "prompt",
    "StyleAVideoTextCondition": "text",
    "CLIPTextEncode": "text",
}
SEEDS = ("seed", "noise_seed")
NEGATIVES = ("negative", "base")
"""Inputs whose text is what the result should not be."""


class Failure(Exception):
    """One sentence for the user."""


# The workflow


def read_workflow(path: Path) -> Prompt:
    try:
        prompt = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Failure(f"{path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise Failure(f"{path} is no JSON ({error}).") from error
    if isinstance(prompt, dict) and "nodes" in prompt:
        raise Failure(
            f"{path} is the form for the browser: take the one in the folder api, or save it with "
            "File > Export (API)."
        )
    nodes = prompt.values() if isinstance(prompt, dict) else [None]
    if not all(isinstance(n, dict) and {"class_type", "inputs"} <= set(n) for n in nodes):
        raise Failure(f"{path} is no workflow in ComfyUI's API form.")
    return prompt


def loaders(prompt: Prompt) -> list[str]:
    """The nodes that load a clip; Failure where there is none."""
    found = [key for key, node in prompt.items() if node["class_type"] in CLIPS]
    if not found:
        raise Failure("--input: the workflow has no Load Video Frames.")
    return found


def set_clip(prompt: Prompt, name: str) -> list[str]:
    """Makes every loader read that file of the input folder; gives what was changed."""
    return [_set(prompt, key, CLIPS[prompt[key]["class_type"]], name) for key in loaders(prompt)]


def set_prompts(prompt: Prompt, texts: list[str]) -> list[str]:
    """The first text replaces the first prompt, and so on; empty and negative ones stay."""
    places = [key for key in prompt if _is_prompt(prompt, key)]
    if len(texts) > len(places):
        raise Failure(f"--prompt is given {len(texts)} times; the workflow has {len(places)}.")
    return [
        _set(prompt, key, TEXTS[prompt[key]["class_type"]], text)
        for key, text in zip(places, texts, strict=False)
    ]


def set_seed(prompt: Prompt, seed: int) -> list[str]:
    """Every seed that is not connected becomes this one."""
    changed = [
        _set(prompt, key, name, seed)
        for key, node in prompt.items()
        for name in SEEDS
        if isinstance(node["inputs"].get(name), int)
    ]
    if not changed:
        raise Failure("--seed: the workflow has no seed.")
    return changed


def _is_prompt(prompt: Prompt, key: str) -> bool:
    node = prompt[key]
    text = node["inputs"].get(TEXTS.get(node["class_type"], ""))
    if not isinstance(text, str) or not text.strip():
        return False
    uses = [name for n in prompt.values() for name, v in n["inputs"].items() if v == [key, 0]]
    return not any(name in NEGATIVES for name in uses)


def _set(prompt: Prompt, key: str, name: str, value: Any) -> str:
    prompt[key]["inputs"][name] = value
    return f"{key} {title(prompt, key)}: {name} = {value!r}"


def title(prompt: Prompt, key: str) -> str:
    node = prompt.get(key, {})
    return node.get("_meta", {}).get("title") or node.get("class_type", key)


# The server


class Client:
    """A ComfyUI server at `url`, inside `async with`."""

    def __init__(self, url: str) -> None:
        self.url = (url if "://" in url else f"http://{url}").rstrip("/")
        self.id = str(uuid.uuid4())

    async def __aenter__(self) -> Client:
        # Sampling takes its time: no limit on the whole, one on finding the server.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        self.http = aiohttp.ClientSession(timeout=timeout)
        try:
            self.socket = await self.http.ws_connect(
                f"{self.url}/ws", params={"clientId": self.id}, max_msg_size=0
            )
        except (aiohttp.ClientError, asyncio.TimeoutError, ValueError) as error:
            await self.http.close()
            raise Failure(
                f"There is no ComfyUI at {self.url} ({error}): start it, or give its address with "
                "--server."
            ) from error
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.socket.close()
        await self.http.close()

    async def upload(self, path: Path) -> str:
        """A file into the input folder → its name there."""
        try:
            file = path.open("rb")
        except OSError as error:
            raise Failure(f"{path} cannot be read ({error.strerror}).") from error
        with file:
            form = aiohttp.FormData()
            form.add_field("image", file, filename=path.name)
            async with self.http.post(f"{self.url}/upload/image", data=form) as answer:
                if answer.status == 413:
                    raise Failure(
                        f"{path} is larger than the server takes: start ComfyUI with a higher "
                        "--max-upload-size, or copy the file into its input folder."
                    )
                if answer.status != 200:
                    raise Failure(f"{path} was not taken ({answer.status} {answer.reason}).")
                return (await answer.json())["name"]

    async def queue(self, prompt: Prompt) -> str:
        """→ the id of the run; Failure with ComfyUI's reason for each node."""
        body = {"prompt": prompt, "client_id": self.id}
        async with self.http.post(f"{self.url}/prompt", json=body) as answer:
            try:
                reply = await answer.json(content_type=None)
            except ValueError:  # a page of what stands between
                reply = None
        if not isinstance(reply, dict):
            raise Failure(
                f"{self.url} answers as no ComfyUI does ({answer.status} {answer.reason})."
            )
        if answer.status != 200:
            raise Failure(refusal(prompt, reply))
        return reply["prompt_id"]

    async def wait(self, prompt: Prompt, run: str) -> None:
        """Until the run is done, telling how far it is."""
        async for message in self.socket:
            if message.type != aiohttp.WSMsgType.TEXT:
                continue  # a preview picture
            event = json.loads(message.data)
            data = event.get("data") or {}
            if data.get("prompt_id") != run:
                continue
            kind = event["type"]
            if kind == "progress":
                tell(f"{title(prompt, data['node'])} {data['value']}/{data['max']}")
            elif kind == "executing" and data.get("node"):
                tell(title(prompt, data["node"]))
            elif kind == "execution_error":
                where = title(prompt, data["node_id"])
                raise Failure(f"{where} failed: {data['exception_message'].strip()}")
            elif kind == "execution_interrupted":
                raise Failure("The run was interrupted on the server.")
            elif kind == "execution_success":
                return
        raise Failure("The server closed the connection before the run was done: see its log.")

    async def cancel(self, run: str) -> None:
        """Off the server's queue, or stopped there if it is running; others' runs go on."""
        for path, body in (("queue", {"delete": [run]}), ("interrupt", {"prompt_id": run})):
            async with self.http.post(f"{self.url}/{path}", json=body):
                pass

    async def results(self, run: str) -> dict[str, list[dict[str, str]]]:
        """Node → the files it made."""
        for _ in range(100):  # the history is written just after the run is told to be done
            async with self.http.get(f"{self.url}/history/{run}") as answer:
                history = await answer.json()
            if run in history:
                return {
                    key: [i for items in output.values() for i in items if _is_file(i)]
                    for key, output in history[run]["outputs"].items()
                }
            await asyncio.sleep(0.1)
        raise Failure("The server has no record of the run: see its log.")

    async def download(self, file: dict[str, str], path: Path) -> None:
        query = {key: file.get(key, "") for key in ("filename", "subfolder", "type")}
        async with self.http.get(f"{self.url}/view", params=query) as answer:
            if answer.status != 200:
                raise Failure(f"{file['filename']} is not on the server any more.")
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{path.name}.part")
            with partial.open("wb") as target:
                async for part in answer.content.iter_chunked(1 << 20):
                    target.write(part)
            partial.replace(path)


def _is_file(item: Any) -> bool:
    return isinstance(item, dict) and "filename" in item


def refusal(prompt: Prompt, reply: dict[str, Any]) -> str:
    """Why ComfyUI did not take the workflow, a reason a node."""
    reasons = [
        f"{key} {title(prompt, key)}: {error['message']} ({error['details']})"
        for key, node in (reply.get("node_errors") or {}).items()
        for error in node["errors"]
    ]
    if not reasons:
        error = reply.get("error") or {}
        kind = (error.get("extra_info") or {}).get("class_type")
        reasons = [error.get("message", "no reason given") + (f" ({kind})" if kind else "")]
    return "ComfyUI refused the workflow: " + "; ".join(reasons)


def tell(text: str) -> None:
    """Progress: one line that changes on a terminal, nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def file_name(file: dict[str, str]) -> str:
    """Of a result, without the folders that a server may have put before it."""
    name = PureWindowsPath(str(file["filename"])).name  # parts at / and at \\
    if not name.strip(".") or "\0" in name:
        raise Failure(f"The server calls a result {file['filename']!r:.80}, which is no name.")
    return name


def targets(names: Sequence[str], out: Path | None) -> list[Path]:
    """Where each result goes: `out` with the result's own suffix, numbered where there are more;
    without `out` the first name of its kind that is free here.
    """
    if out is not None and len(names) == 1:
        return [out.with_suffix(Path(names[0]).suffix)]
    if out is not None:
        return [out.with_name(f"{out.stem}-{i}{Path(n).suffix}") for i, n in enumerate(names, 1)]
    found: list[Path] = []
    for path in map(Path, names):
        numbered = (path.with_stem(f"{path.stem}-{i}") for i in count(2))
        found.append(next(p for p in chain([path], numbered) if p not in found and not p.exists()))
    return found


async def execute(
    url: str,
    prompt: Prompt,
    clip: Path | None = None,
    texts: list[str] | None = None,
    seed: int | None = None,
    out: Path | None = None,
) -> list[Path]:
    """Runs a workflow with these changes → the files fetched."""
    changed = set_prompts(prompt, texts) if texts else []
    if seed is not None:
        changed += set_seed(prompt, seed)
    if clip is not None:
        loaders(prompt)  # before a long upload
    async with Client(url) as client:
        if clip is not None:
            changed += set_clip(prompt, await client.upload(clip))
        for line in changed:
            print(line)
        queued = asyncio.ensure_future(client.queue(prompt))
        try:
            run = await asyncio.shield(queued)
            await client.wait(prompt, run)
        except asyncio.CancelledError:  # Ctrl-C, perhaps while the server takes the run
            await client.cancel(await queued)
            tell("")
            print("Cancelled, on the server too.", file=sys.stderr)
            raise
        tell("")
        files = [file for made in (await client.results(run)).values() for file in made]
        # What was saved; previews where nothing was.
        files = [file for file in files if file["type"] == "output"] or files
        paths = targets([file_name(file) for file in files], out)
        for file, path in zip(files, paths, strict=True):
            await client.download(file, path)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workflow", type=Path, help="a workflow in ComfyUI's API form")
    parser.add_argument("--server", default="http://127.0.0.1:8188", metavar="URL")
    parser.add_argument("--input", type=Path, metavar="CLIP", help="the clip to load")
    parser.add_argument(
        "--prompt",
        action="append",
        metavar="TEXT",
        help="the style; given again, the next prompt of the workflow",
    )
    parser.add_argument("--seed", type=int, metavar="N")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: the server's name")
    given = parser.parse_args()
    try:
        prompt = read_workflow(given.workflow)
        for path in asyncio.run(
            execute(given.server, prompt, given.input, given.prompt, given.seed, given.out)
        ):
            print(path)
    except Failure as failure:
        tell("")
        sys.exit(str(failure))
    except (aiohttp.ClientError, asyncio.TimeoutError) as error:
        tell("")
        sys.exit(f"The connection to {given.server} broke off ({error}).")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
