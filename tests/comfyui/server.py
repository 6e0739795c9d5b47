"""A real ComfyUI server with this pack in its custom_nodes, on the CPU, in a folder of its own."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Server:
    """ComfyUI at `url`; `folder` holds its input, output, models and user files."""

    def __init__(self, comfyui: Path, folder: Path, pack: str = "style-a-video", *options: str):
        self.folder = folder
        for name in ("custom_nodes", "input", "output", "models/checkpoints", "models/diffusers"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        link = folder / "custom_nodes" / pack
        if not link.exists():
            link.symlink_to(ROOT)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "main.py", "--cpu", "--port", str(self.port), "--base-directory",
                 str(folder), "--database-url", "sqlite:///:memory:", *options],
                cwd=comfyui, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._wait()

    def _wait(self, seconds: float = 240) -> None:
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if self.process.poll() is not None:
                break
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.3)
        self.stop()
        raise RuntimeError(f"ComfyUI did not start:\n{self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Status and answer; an error's body too."""
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def add_input(self, file: Path, name: str | None = None) -> str:
        """A file into the input folder → the name that workflows use."""
        shutil.copy(file, self.folder / "input" / (name or file.name))
        return name or file.name

    def run(self, prompt: dict[str, Any], seconds: float = 300) -> dict[str, Any]:
        """Queue an API-format prompt, wait, and give its history entry.

        Raises:
            RuntimeError: the prompt was refused or failed; with ComfyUI's words.
        """
        status, answer = self.post("/prompt", {"prompt": prompt, "client_id": str(uuid.uuid4())})
        if status != 200:
            raise RuntimeError(json.dumps(answer))
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            history = self.get(f"/history/{answer['prompt_id']}")
            if history:
                entry = history[answer["prompt_id"]]
                if entry["status"]["status_str"] != "success":
                    raise RuntimeError(_reason(entry))
                return entry
            time.sleep(0.2)
        raise RuntimeError(f"The prompt took more than {seconds} s.")

    def files(self, entry: dict[str, Any]) -> list[Path]:
        """The files that a finished prompt left in the output folder."""
        found = []
        for output in entry["outputs"].values():
            for item in output.get("images", []):
                if isinstance(item, dict) and item.get("type") == "output":
                    found.append(
                        self.folder / "output" / item.get("subfolder", "") / item["filename"]
                    )
        return found


def _reason(entry: dict[str, Any]) -> str:
    for name, message in entry["status"]["messages"]:
        if name == "execution_error":
            return f"{message['node_type']}: {message['exception_message']}"
    return json.dumps(entry["status"])
