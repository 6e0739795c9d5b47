"""Engines that take minutes a frame end where they are no longer wanted, in the middle of it."""

from collections import Counter

import pytest
import torch
from style_a_video.pipelines.engines import analogy, gatys
from style_a_video.pipelines.engines.at_work import asking, at_work
from style_a_video.pipelines.engines.style import Style, StylePicture

FRAME = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(0))
SLOW = {
    "gatys": (gatys.KIND, {"iterations": 12}),
    "analogy": (analogy.KIND, {}),
    "analogy, L-BFGS": (analogy.KIND, {"reconstruct": "lbfgs"}),
}


class Cancelled(Exception):
    pass


@pytest.mark.parametrize("name", SLOW)
def test_a_frame_is_given_up_halfway(name):
    kind, options = SLOW[name]
    loaded = kind.load(kind.options(**options, style_size=64), torch.device("cpu"), torch.float32)
    engine = loaded.engine(Style(pictures=(StylePicture(FRAME[0].flip(0)),)))
    asked = Counter()

    def still_wanted():
        asked[name] += 1
        if asked[name] == enough:
            raise Cancelled

    enough = 0  # never
    with asking(still_wanted):
        engine.carry(FRAME, [0], None)
    times = asked[name]
    assert times > 10
    asked.clear()
    enough = times // 2
    with asking(still_wanted), pytest.raises(Cancelled):
        engine.carry(FRAME, [0], None)
    assert asked[name] == enough


def test_an_optimisation_asks_at_every_evaluation():
    """The levels of Deep Image Analogy by L-BFGS take minutes each at 1,024 px."""
    asked = Counter()

    def run(reconstruct):
        loaded = analogy.KIND.load(
            analogy.AnalogyOptions(reconstruct=reconstruct, style_size=64),
            torch.device("cpu"),
            torch.float32,
        )
        with asking(lambda: asked.update([reconstruct])):
            loaded.pair(StylePicture(FRAME[0]), StylePicture(FRAME[0].flip(0)))

    run("warp")
    run("lbfgs")
    assert asked["lbfgs"] > asked["warp"] + 100


def test_who_does_not_ask_is_not_asked():
    at_work()
    with asking(lambda: 1 / 0), pytest.raises(ZeroDivisionError):
        at_work()
    at_work()
