"""A ComfyUI server, over HTTP. What it answers is not trusted: bounded in size and in time."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import PurePosixPath
from threading import Event
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from ...errors import StyleAVideoError
from ...files import parse_json, shown

DEFAULT = "http://127.0.0.1:8188"
SECONDS = 120  # without a byte of an answer
WHOLE = 600  # s, of an answer
JSON = 64 << 20  # bytes; an answer holds the workflow again
PICTURE = 256 << 20  # bytes; 8192 x 8192 without any compression have 201 MB
PAUSES = (0.02, 0.5)  # s between two questions: the first, and the longest
TOLD = 300  # characters of what a server says
_KEYS = ("filename", "subfolder", "type")
_NAME = re.compile(r"[\w .()+-]{1,200}")
_OUT_OF_MEMORY = re.compile(r"OutOfMemory|out of memory|not enough memory|allocate memory", re.I)


class Stopped(Exception):
    """Another frame failed, or the user ended the run."""


class ServerMemoryError(Exception):
    """The server has too little memory for what it was sent."""


class _Straight(HTTPRedirectHandler):
    """A server that sends elsewhere is not followed."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = build_opener(_Straight)


def urls(text: str) -> list[str]:
    """The addresses of servers, from URL[,URL]; http where nothing is said.

    Raises:
        StyleAVideoError: one that is none.
    """
    found = []
    for given in map(str.strip, text.split(",")):
        url = given if "://" in given else f"http://{given}"
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable or parts.query or parts.fragment or not url.isprintable() or " " in url:
            raise StyleAVideoError(
                f"server must be the address of a ComfyUI such as {DEFAULT}, not {shown(given)!r}."
            )
        found.append(url.rstrip("/"))
    return list(dict.fromkeys(found))


class Server:
    """ComfyUI at `url`.

    Args:
        seconds: that one prompt may take.

    Raises:
        StyleAVideoError: in every method: it is not there, does not answer as ComfyUI does, or
            what is asked of it fails.
    """

    def __init__(self, url: str, seconds: float) -> None:
        self.url, self.seconds = url, seconds
        self.id = str(uuid.uuid4())

    def version(self) -> str:
        system = self._json("/system_stats").get("system")
        version = system.get("comfyui_version") if isinstance(system, dict) else None
        if not isinstance(version, str):
            raise self._strange("tells no version: is it ComfyUI?")
        return version[:60]

    def upload(self, name: str, data: bytes) -> str:
        """A file into the folder that ComfyUI empties when it starts → its name for a loader."""
        kind, body = _form({"type": "temp", "overwrite": "true"}, name, data)
        status, answer = self._ask("/upload/image", body, kind)
        if status == 413:
            raise StyleAVideoError(
                f"A frame is larger than {self.url} takes: start ComfyUI with a higher "
                "--max-upload-size."
            )
        if status != 200:
            raise self._strange(f"does not take files ({status})")
        return f"{name} [temp]"

    def queue(self, prompt: Mapping[str, Any]) -> str:
        """→ the prompt's id."""
        body = {"prompt": prompt, "client_id": self.id}
        status, data = self._ask("/prompt", json.dumps(body).encode())
        answer = self._parsed(data)
        if status != 200:
            raise StyleAVideoError(
                f"ComfyUI refused the workflow: {_line(refusal(answer, prompt))}."
            )
        if not isinstance(answer.get("prompt_id"), str):
            raise self._strange("gives no number for a prompt")
        return answer["prompt_id"]

    def wait(self, run: str, stop: Event) -> dict[str, Any]:
        """What the history tells of a prompt, once it is done."""
        until, pause = time.monotonic() + self.seconds, PAUSES[0]
        while time.monotonic() < until:
            idle = self._is_idle()
            entry = self._json(f"/history/{quote(run, safe='')}").get(run)
            if isinstance(entry, dict):
                return entry
            if idle:
                raise StyleAVideoError(
                    f"{self.url} knows nothing of a prompt that it was sent: it was restarted, or "
                    "its history was cleared."
                )
            if stop.wait(pause):
                self.cancel(run)
                raise Stopped
            pause = min(PAUSES[1], pause * 1.5)
        self.cancel(run)
        raise StyleAVideoError(
            f"A prompt took more than {self.seconds:g} s at {self.url}: look at its queue, or give "
            "it more time with timeout."
        )

    def _is_idle(self) -> bool:
        about = self._json("/prompt").get("exec_info")
        return isinstance(about, dict) and about.get("queue_remaining") == 0

    def pictures(self, entry: dict[str, Any], node: str) -> list[dict[str, str]]:
        """The files that a node of a finished prompt shows.

        Raises:
            StyleAVideoError: the prompt failed; the sentence says where and why.
            ServerMemoryError: for want of memory.
        """
        status = entry.get("status")
        if not isinstance(status, dict) or status.get("status_str") != "success":
            raise _failure(status)
        outputs = entry.get("outputs")
        made = outputs.get(node) if isinstance(outputs, dict) else None
        listed = made.get("images") if isinstance(made, dict) else None
        if not isinstance(listed, list):
            return []
        files: list[Any] = [
            {k: one.get(k) for k in _KEYS} for one in listed if isinstance(one, dict)
        ]
        if len(files) < len(listed) or not all(isinstance(f[k], str) for f in files for k in _KEYS):
            raise self._strange("names files that are none")
        return files

    def fetch(self, file: Mapping[str, str]) -> bytes:
        """A file's content."""
        status, data = self._ask(f"/view?{urlencode(file)}", most=PICTURE)
        if status != 200:
            raise StyleAVideoError(
                f"{self.url} does not give {_line(file['filename'])}, which it made ({status})."
            )
        return data

    def content_of(self, name: str) -> bytes | None:
        """Of a file as a loader names it: NAME, FOLDER/NAME, NAME [output]; None: not there."""
        found = re.fullmatch(r"(.*?)(?: \[(input|output|temp)\])?", name, re.DOTALL)
        assert found is not None  # it takes any text
        path = PurePosixPath(found[1])
        file = {"filename": path.name, "subfolder": str(path.parent), "type": found[2] or "input"}
        if file["subfolder"] == ".":
            file["subfolder"] = ""
        status, data = self._ask(f"/view?{urlencode(file)}", most=PICTURE)
        return data if status == 200 else None

    def forget(self, run: str, files: Sequence[Mapping[str, str]]) -> None:
        """Takes a prompt out of the history, and what its previews hold off the disk."""
        for file in files:
            if (
                file["type"] == "temp"
                and _NAME.fullmatch(file["filename"])
                and not file["subfolder"]
            ):
                self.upload(file["filename"], b"")  # there is no other way to remove it
        self._ask("/history", json.dumps({"delete": [run]}).encode())

    def cancel(self, run: str) -> None:
        """Off the queue, or stopped where it is running; what others queued goes on."""
        for path, body in (("/queue", {"delete": [run]}), ("/interrupt", {"prompt_id": run})):
            self._ask(path, json.dumps(body).encode())

    # one question

    def _json(self, path: str) -> dict[str, Any]:
        status, data = self._ask(path)
        if status != 200:
            raise self._strange(f"answers {path.split('/')[1]} with {status}: is it ComfyUI?")
        return self._parsed(data)

    def _parsed(self, data: bytes) -> dict[str, Any]:
        try:
            found = parse_json(data)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._strange("does not answer as ComfyUI does")
        return found

    def _ask(
        self,
        path: str,
        data: bytes | None = None,
        kind: str = "application/json",
        most: int = JSON,
    ) -> tuple[int, bytes]:
        """Status and content; a POST where there is data."""
        request = Request(self.url + path, data, {} if data is None else {"Content-Type": kind})
        try:
            try:
                answer = _OPENER.open(request, timeout=SECONDS)
            except HTTPError as error:  # which can be read too
                answer = error
            with answer:
                return int(answer.status), self._read(answer, most)
        except (OSError, HTTPException, ValueError) as error:
            if isinstance(error, StyleAVideoError):
                raise
            reason = getattr(error, "reason", error)
            told = getattr(reason, "strerror", None) or reason or type(error).__name__
            raise StyleAVideoError(
                f"There is no ComfyUI at {self.url} ({_line(str(told).lower())}): start it, or "
                "give its address with server. What is done is kept: the same call goes on."
            ) from error

    def _read(self, answer: Any, most: int) -> bytes:
        until, parts, size = time.monotonic() + WHOLE, [], 0
        while part := answer.read1(1 << 20):
            size += len(part)
            if size > most:
                raise self._strange(f"answers with more than {most:,} bytes")
            if time.monotonic() > until:
                raise self._strange(f"does not end an answer in {WHOLE} s")
            parts.append(part)
        return b"".join(parts)

    def _strange(self, what: str) -> StyleAVideoError:
        return StyleAVideoError(f"The server {self.url} {what}.".replace("?.", "?"))


def _form(fields: Mapping[str, str], name: str, data: bytes) -> tuple[str, bytes]:
    """The type and content of a form with a file (RFC 7578)."""
    boundary = uuid.uuid4().hex
    lines = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'
        for k, v in fields.items()
    ]
    lines.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = "".join(lines).encode() + data + f"\r\n--{boundary}--\r\n".encode()
    return f"multipart/form-data; boundary={boundary}", body


def refusal(answer: Mapping[str, Any], prompt: Mapping[str, Any]) -> str:
    """Why ComfyUI did not take a prompt, a reason a node."""
    reasons = []
    nodes = answer.get("node_errors")
    for key, node in nodes.items() if isinstance(nodes, dict) else ():
        errors = node.get("errors") if isinstance(node, dict) else None
        for error in errors if isinstance(errors, list) else ():
            if isinstance(error, dict):
                kind = prompt[key]["class_type"] if key in prompt else "?"
                reasons.append(f"{key} {kind}: {error.get('message')} ({error.get('details')})")
    error = answer.get("error")
    if not reasons and isinstance(error, dict):
        reasons = [f"{error.get('message')} {error.get('details') or ''}"]
    return "; ".join(reasons) or "it does not say why"


def _failure(status: Any) -> Exception:
    """Of a prompt that did not succeed."""
    messages = status.get("messages") if isinstance(status, dict) else None
    for message in messages if isinstance(messages, list) else ():
        if not (isinstance(message, list) and len(message) == 2 and isinstance(message[1], dict)):
            continue
        kind, about = message
        if kind == "execution_interrupted":
            return StyleAVideoError(
                "The prompt was interrupted on the server. What is done is kept: the same call "
                "goes on."
            )
        if kind == "execution_error":
            said = f"{about.get('exception_type')} {about.get('exception_message')}"
            if _OUT_OF_MEMORY.search(said):
                return ServerMemoryError(_line(said))
            where = f"{about.get('node_id')} {about.get('node_type')}"
            why = _line(str(about.get("exception_message"))) or _line(said)
            return StyleAVideoError(f"The node {_line(where)} of the workflow failed: {why}.")
    return StyleAVideoError("The workflow failed on the server, which does not say why.")


def _line(text: str) -> str:
    """What a server says, on a line."""
    return shown(" ".join(text[: 4 * TOLD].split())[:TOLD].rstrip(" ."))
