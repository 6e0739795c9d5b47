"""Runs the command line on hostile files, a child each, within limits of memory and time.

A process that has imported everything and computed nothing; it forks for every line of JSON that it
is given. So a case costs what it does, not the seconds that the imports take. Linux only.
"""

import ctypes
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

MEMORY = 3 << 30  # bytes beyond what the imports take
SECONDS = 60


class Nursery:
    """The other end: `run` gives what became of a command."""

    def __init__(self, **environment):
        import subprocess

        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        )

    def run(self, *argv, memory=MEMORY, seconds=SECONDS, cwd=None, humble=False):
        """humble: even root is refused what permissions refuse.

        {rc, seconds, peak (MiB), out, err}; rc 124 where the time was over, -9 where killed."""
        given = {
            "argv": [os.fsencode(a).decode("utf-8", "surrogateescape") for a in argv],
            "memory": memory,
            "seconds": seconds,
            "cwd": str(cwd) if cwd else None,
            "humble": humble,
        }
        self._process.stdin.write(json.dumps(given) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self):
        self._process.stdin.close()
        self._process.wait(30)


def assert_one_sentence(done, *allowed):
    """rc 0, or rc 2 with one line that says what and where; nothing else."""
    assert done["rc"] in (allowed or (0, 2)), done
    if done["rc"] == 2:
        lines = [line for line in done["err"].splitlines() if "error:" in line]
        assert len(lines) == 1 and lines[0].startswith("style-a-video: error: "), done
        assert lines[0].endswith((".", ")")), done
    assert "Traceback" not in done["err"], done


def _child(given, out, err):
    from style_a_video.pipelines.cli import main as cli

    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    if given["cwd"]:
        os.chdir(given["cwd"])
    if given["humble"]:
        _give_up_rights()
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + given["memory"],) * 2)
    try:
        command = _go_on if given["argv"][0] == "job" else cli.main
        code = command(given["argv"])
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _go_on(argv):
    """["job", SOURCE]: the job in ./job, with an engine that changes nothing."""
    from style_a_video.pipelines.errors import StyleAVideoError
    from style_a_video.pipelines.stylize import stylize_video

    try:
        stylize_video(argv[1], "o.mkv", lambda images, indices: images, job="job", chunk_size=2)
    except StyleAVideoError as error:
        print(f"style-a-video: error: {error}", file=sys.stderr)
        return 2
    return 0


def _give_up_rights():
    """All capabilities, such as reading what nobody may (capset(2), version 3)."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    if libc.capset(header, (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "capset")


def _run(given):
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        pid = os.fork()
        if not pid:
            os.setsid()
            _child(given, out, err)
        rc = None
        while rc is None:
            done, status, used = os.wait4(pid, os.WNOHANG)
            if done:
                rc = os.waitstatus_to_exitcode(status)
            elif time.monotonic() - began > given["seconds"]:
                os.killpg(pid, signal.SIGKILL)
                _, _, used = os.wait4(pid, 0)
                rc = 124
            else:
                time.sleep(0.005)
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read(1 << 20).decode("utf-8", "backslashreplace"))
    took = round(time.monotonic() - began, 2)
    return {
        "rc": rc,
        "seconds": took,
        "peak": used.ru_maxrss // 1024,
        "out": said[0],
        "err": said[1],
    }


def main():
    if "style_a_video" not in sys.modules:
        _load()
    # What is imported here is not imported again by every child.
    import accelerate  # noqa: F401
    import cv2  # noqa: F401
    import transformers
    from diffusers.loaders import single_file_utils  # noqa: F401
    from style_a_video.pipelines.cli import main as cli  # noqa: F401
    from style_a_video.pipelines.engines.diffusion import engine  # noqa: F401
    from style_a_video.pipelines.report import report  # noqa: F401
    from style_a_video.pipelines.run import demo, stylize  # noqa: F401
    from style_a_video.weights import clip, loading  # noqa: F401

    for name in ("CLIPTextModel", "CLIPTokenizer", "CLIPImageProcessor", "CLIPVisionModel"):
        getattr(transformers, name)

    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        answer.write(json.dumps(_run(json.loads(line))) + "\n")
        answer.flush()


def _load():
    """The package under its name, as tests/conftest.py does it."""
    import runpy

    runpy.run_path(str(Path(__file__).parents[1] / "conftest.py"))


if __name__ == "__main__":
    main()
