"""Many hostile files, each in a child with limits: `python tests/hostile/fuzz.py [video=3000 ...]`.

Every end must be rc 0 or 2 with one sentence, within 60 s and 3 GB, and leave no half file.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

HERE = Path(__file__).parent
COUNTS = {"video": 3000, "model": 2000, "job": 700, "shots": 300}


def load(name, **given):
    return SimpleNamespace(**run_path(str(HERE / name), given))


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("counts", nargs="*", metavar="KIND=COUNT")
    arguments.add_argument("--seed", type=int, default=0, help="of the first case (%(default)s)")
    args = arguments.parse_args()
    counts = {k: int(n) for k, n in (c.split("=") for c in args.counts)} or COUNTS
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        bad, nursery = 0, load("nursery.py").Nursery()
        whole = prepared(Path(folder))
        for kind, count in counts.items():
            worst, began = (0, 0), time.monotonic()
            for seed, done, wrong in run(
                Path(folder), kind, range(args.seed, args.seed + count), nursery, whole
            ):
                worst = max(worst[0], done["peak"]), max(worst[1], done["seconds"])
                if wrong:
                    bad += 1
                    print(f"{kind} {seed}: {wrong}\n{json.dumps(done)[:3000]}", flush=True)
            took = time.monotonic() - began
            print(
                f"{kind}: {count} in {took:.0f} s, peak {worst[0]} MiB, longest {worst[1]} s",
                flush=True,
            )
        nursery.close()
    sys.exit(bad > 0)


def run(folder, kind, seeds, nursery, whole):
    """(seed, what became of it, what is wrong with that) of each case."""
    generate = load("generate.py")
    for seed in seeds:
        place = folder / f"{kind}{seed}"
        place.mkdir()
        try:
            case = generate.case(whole, kind, seed, place)
            before = names(place)
            done = nursery.run(*case.get("argv", ["job", str(whole.source)]), cwd=place)
            yield seed, done, wrong(done, before, names(place))
        finally:
            shutil.rmtree(place, ignore_errors=True)


def prepared(folder):
    if "style_a_video" not in sys.modules:
        load("../conftest.py")
    place = folder / "whole"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    return load("generate.py").Whole(place, load("../clips.py"), load("../odd.py"))


def names(folder):
    return {p.name for p in folder.iterdir()}


def wrong(done, before, after):
    """ "" where it ended as it must."""
    if done["rc"] not in (0, 2):
        return f"rc {done['rc']}"
    errors = [line for line in done["err"].splitlines() if "error:" in line]
    if "Traceback" in done["err"] or (done["rc"] == 2 and len(errors) != 1):
        return "not one sentence"
    new = {n for n in after - before if not n.endswith(".job")}
    if done["rc"] == 2 and new:
        return f"left {new}"
    if any(n.startswith(".") for n in new):
        return f"left {new}"
    return ""


if __name__ == "__main__":
    main()
