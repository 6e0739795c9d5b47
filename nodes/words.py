"""What can be done about an error, in ComfyUI: widgets, folders, how it was started."""

from __future__ import annotations

from ..pipelines.errors import Remedy

WORDS: dict[Remedy, str] = {
    Remedy.START_OVER: "Queue the graph again.",
    Remedy.START_OVER_OR_MOVE: "delete {folder} to start over.",
    Remedy.SAME_OR_START_OVER: "delete that folder to start over.",
    Remedy.OTHER_FOLDER: "move it away.",
    Remedy.FREE_SPACE: "free space. What is done is kept: the same graph goes on.",
    Remedy.SMALLER: "max_side.",
    Remedy.OTHER_PRECISION: "start ComfyUI with --force-fp32, or lower the scales.",
    Remedy.CPU_PRECISION: "start ComfyUI with --force-fp32.",
    Remedy.TAKE_PARTIAL: ".",
    Remedy.COMPARE_PART: ".",
    Remedy.SAY_WHERE: ".",
    Remedy.FEWER_WORKERS: "ask for {count} workers or fewer.",
    Remedy.CLUSTER_ADDRESS: "start one with `ray start --head`.",
    Remedy.WORKERS_MEMORY: "use a smaller max_side. What is done is kept: the same graph goes on.",
    Remedy.ANYWAY: ".",
}
