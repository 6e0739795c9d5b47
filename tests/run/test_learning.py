"""A style learned from a picture."""

import pytest
import torch
from style_a_video.pipelines.core.stylebank import BANK, unchanged
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.run.learning import (
    Learner,
    learner_of,
    read_progress,
    write_progress,
)
from style_a_video.weights import stylebank as weights

CPU = torch.device("cpu")
ABOUT = {"picture": "of"}


@pytest.fixture(scope="module")
def picture():
    """(3,96,128): red and yellow stripes, which no style that ships resembles."""
    x = torch.arange(128.0).expand(96, 128)
    stripes = (torch.sin(x / 2) > 0).float()
    return torch.stack([torch.ones_like(x), stripes, 0 * x])


def learner(picture, steps=20):
    photos = [torch.rand(3, 170, 180, generator=torch.Generator().manual_seed(k)) for k in (0, 1)]
    starts = [unchanged(), weights.read_style(weights.SHIPPED / "scream.safetensors")]
    return Learner(picture, photos, starts, CPU, steps)


def test_the_style_comes_nearer(picture):
    one = learner(picture, 200)
    one.learn()
    first = one.loss
    for _ in range(29):
        one.learn()
    assert one.step == 30 and one.loss < 0.85 * first
    assert one.preview().shape == (3, 160, 160)


def test_it_goes_on_where_it_was_ended(picture, tmp_path):
    straight, ended = learner(picture), learner(picture)
    for _ in range(3):
        straight.learn()
    ended.learn()
    write_progress(tmp_path / "p", ended, ABOUT)
    again = learner(picture)
    again.restore(read_progress(tmp_path / "p", ABOUT))
    assert again.step == 1
    for _ in range(2):
        again.learn()
    assert torch.equal(again.filters, straight.filters)
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\x80\x04pickle"])
def test_progress_of_something_else_is_not_gone_on_from(content, picture, tmp_path):
    path = tmp_path / "p"
    assert read_progress(path, ABOUT) is None
    path.write_bytes(content)
    assert read_progress(path, ABOUT) is None
    one = learner(picture)
    one.learn()
    write_progress(path, one, ABOUT)
    with pytest.raises(StyleAVideoError, match="was begun from another picture"):
        read_progress(path, {"picture": "another"})


def test_what_was_learned_before_stays_to_the_bit(picture):
    """Encoder and decoder are not trained, and with them no style changes."""
    one = learner(picture)
    before = {k: v.clone() for k, v in one.network.state_dict().items()}
    one.learn()
    assert all(torch.equal(v, before[k]) for k, v in one.network.state_dict().items())


def test_it_works_inside_inference_mode(picture):
    """Which is where ComfyUI's blocks run."""
    with torch.inference_mode():
        one = learner(picture.clone())
        one.learn()
        again = learner(picture.clone())
        again.restore({k: v.clone() for k, v in one.state().items()})
        again.learn()
    assert again.step == 2 and not one.filters.is_inference()


def test_it_begins_with_the_nearest_of_the_styles_that_ship(picture):
    own = learner_of(picture, CPU)
    assert own.filters.shape == BANK and len(own.features) == len(weights.photos()) >= 16
    shipped = [weights.read_style(p) for p in weights.SHIPPED.iterdir()]
    assert any(torch.equal(own.filters, start) for start in shipped)
