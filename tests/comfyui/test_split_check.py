"""Some of the random graphs of split_check.py; and that it finds what it is for."""

from __future__ import annotations

import split_check
from style_a_video.nodes import host

SEEDS = range(10)


def test_frames_divided_are_frames_undivided_or_refused():
    verdicts = []
    for seed in SEEDS:
        verdict, about = split_check.checked(seed)
        assert verdict != "wrong", f"seed {seed}: {about}"
        verdicts.append(verdict)
    assert verdicts.count("same") > len(SEEDS) // 2


def test_it_sees_frames_that_get_the_conditions_of_others(monkeypatch):
    """As it was for references: every part got those of the first frames."""
    once = host.cond_of_frames

    def first(what, cond, part, count):
        return once(what, cond, slice(0, part.stop - part.start), count)

    monkeypatch.setattr(host, "cond_of_frames", first)
    assert "wrong" in [split_check.checked(seed)[0] for seed in SEEDS]
