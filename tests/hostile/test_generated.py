"""A short run of the generator; `make fuzz` runs the long one."""

from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest

COUNTS = {"video": 60, "model": 40, "job": 25, "shots": 15}


@pytest.mark.parametrize("kind", COUNTS)
def test_generated_files_end_in_a_sentence(kind, tmp_path, nursery):
    fuzz = SimpleNamespace(**run_path(str(Path(__file__).with_name("fuzz.py"))))
    whole = fuzz.prepared(tmp_path)
    bad = [
        (seed, wrong, done)
        for seed, done, wrong in fuzz.run(tmp_path, kind, range(COUNTS[kind]), nursery, whole)
        if wrong
    ]
    assert bad == []
