"""What can be done about an error, in options of the command line."""

from __future__ import annotations

from ..errors import Remedy

WORDS: dict[Remedy, str] = {
    Remedy.START_OVER: "Start over with --fresh.",
    Remedy.START_OVER_OR_MOVE: "start over with --fresh, or name another folder with --job.",
    Remedy.SAME_OR_START_OVER: "give the same as then, start over with --fresh, or name another "
    "folder with --job.",
    Remedy.OTHER_FOLDER: "name another folder with --job.",
    Remedy.FREE_SPACE: "free space or name another folder with --job. What is done is kept: the "
    "same command goes on.",
    Remedy.SMALLER: "--max-side.",
    Remedy.OTHER_PRECISION: "use --dtype fp32 or lower scales.",
    Remedy.CPU_PRECISION: "use --dtype bf16 or fp32.",
    Remedy.TAKE_PARTIAL: ", or take what can be decoded (--partial).",
    Remedy.COMPARE_PART: ", or say which part of {source} the results are of (--start S, --end S, "
    "--frames {frames}).",
    Remedy.SAY_WHERE: ", and where only a part of it was stylized say where that begins (--start "
    "0 at its first frame).",
    Remedy.FEWER_WORKERS: "give --workers {count} or fewer.",
    Remedy.CLUSTER_ADDRESS: "start one with `ray start --head`, or give the address that it "
    "prints.",
    Remedy.WORKERS_MEMORY: "use a smaller --max-side or --chunk. What is done is kept: the same "
    "command goes on.",
    Remedy.ANYWAY: ", or go on with --anyway.",
}
