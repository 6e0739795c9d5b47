"""Networks of torchvision, which ComfyUI has: the real code at random weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from style_a_video.nodes import temporal
from style_a_video.pipelines import flow
from style_a_video.pipelines.core.measures import frechet_distance
from style_a_video.pipelines.report import judges

models = pytest.importorskip("torchvision.models", reason="torchvision is not in ComfyUI's Python")
pytest.importorskip("cv2", reason="OpenCV is not in ComfyUI's Python")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """torch.hub's folder, with random weights under the names of the real ones."""
    folder = tmp_path_factory.mktemp("hub")
    (folder / "checkpoints").mkdir()
    torch.manual_seed(0)
    for network, url in (
        (models.inception_v3(init_weights=False), models.Inception_V3_Weights.IMAGENET1K_V1.url),
        (models.optical_flow.raft_small(), models.optical_flow.Raft_Small_Weights.DEFAULT.url),
        (models.alexnet(), models.AlexNet_Weights.IMAGENET1K_V1.url),
    ):
        for name, numbers in network.state_dict().items():
            if name.endswith("running_mean"):
                numbers.normal_(std=0.1)
            elif name.endswith("running_var"):
                numbers.uniform_(0.1, 0.3)
        torch.save(network.state_dict(), folder / "checkpoints" / url.rsplit("/", 1)[-1])
    return folder


@pytest.fixture
def weights(hub, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(hub))
    flow._raft.cache_clear()
    yield hub / "checkpoints"
    flow._raft.cache_clear()


def pictures(count, height, width, seed=1):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def test_sifid_is_of_what_inception_sees_before_its_first_pooling(weights):
    """The whole network up to there, and the distance by the eigenvalues of C₁C₂ itself."""
    a = pictures(1, 80, 101)
    b = (0.6 * a + 0.1).roll(1, 1)
    sifid = judges.load_sifid()
    (found,) = frechet_distance(*sifid(a), *sifid(b))

    inception = models.inception_v3(init_weights=False).eval()
    (file,) = weights.glob("inception*")
    inception.load_state_dict(torch.load(file, weights_only=True))
    seen = []
    inception.maxpool1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        inception(torch.cat([a, b]) * 2 - 1)
    (features,) = seen
    assert features.shape == (2, 64, 37, 48)
    x, y = (f.flatten(1).double().numpy() for f in features)
    m, n, c, d = x.mean(1), y.mean(1), np.cov(x), np.cov(y)
    roots = np.sqrt(np.linalg.eigvals(c @ d).real.clip(0))
    known = ((m - n) ** 2).sum() + np.trace(c + d) - 2 * roots.sum()
    assert known > 0.1
    assert found.item() == pytest.approx(known, rel=1e-4)
    mean, covariance = sifid(torch.cat([a, b]))
    assert torch.equal(mean[:1], sifid(a)[0]) and torch.equal(covariance[1:], sifid(b)[1])
    small = sifid(pictures(1, 3, 40))  # the strides leave nothing of it
    assert small[0].isfinite().all() and small[1].isfinite().all()


def test_the_block_measures_sifid_towards_a_style_image(weights, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    import folder_paths

    monkeypatch.setattr(folder_paths, "get_temp_directory", lambda: str(tmp_path))
    source, style = (pictures(2, 48, 64, seed).movedim(1, -1) for seed in (1, 2))
    results = {"result_0": 0.5 * source, "result_1": style[:1].expand(2, -1, -1, -1)}

    def report(style_image):
        output = temporal.ConsistencyReport.execute(
            source, results, 25.0, "dis", style_image=style_image
        )
        _, table, numbers = output.args
        return table, json.loads(numbers)

    table, told = report(style)
    assert "SIFID src" in table and "SIFID style" in table and "not measured" not in table
    means = [clip["means"] for clip in told["clips"]]
    assert means[0]["sifid_source"] == 0 < min(m["sifid_source"] for m in means[1:])
    assert means[2]["sifid_style"] == 0 < min(m["sifid_style"] for m in means[:2])
    # By the folder alone: torchvision is here, its weights are not.
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "none"))
    table, told = report(style)
    missing = "SIFID was not measured. SIFID needs the weights of torchvision's Inception v3: down"
    assert [line for line in table.splitlines() if line.startswith(missing)]
    assert "未测量 SIFID：需要 torchvision 包以及 Inception v3 的权重。" in table
    assert any(note.startswith(missing) for note in told["notes"])
    assert told["clips"][1]["means"]["sifid_style"] is None
    assert [round(clip["means"]["gap_gram"], 3) for clip in told["clips"]][::2] == [1, 0]
    table, told = report(None)  # nobody asked
    assert "SIFID" not in table + "".join(told["notes"])


@pytest.mark.parametrize(
    ("size", "worked"), [((90, 131), (128, 136)), ((128, 136), (128, 136)), ((150, 99), (152, 128))]
)
def test_raft_s_flow_has_the_frame_s_size_and_its_name_s_direction(weights, size, worked):
    this, prev = pictures(2, *size)
    forth, back = flow.raft(this, prev), flow.raft(prev, this)
    assert forth.shape == back.shape == (2, *size)
    assert forth.isfinite().all() and forth.std() > 0
    flow_to_prev, prev_flow_to_this = flow.both_ways(this, prev, flow.raft)
    assert torch.equal(flow_to_prev[0], forth) and torch.equal(prev_flow_to_this[0], back)
    assert not torch.allclose(forth, back)
    # torchvision's network(image1, image2) is the flow on the grid of image1, into image2, in px.
    network = models.optical_flow.raft_small().eval()
    (file,) = weights.glob("raft*")
    network.load_state_dict(torch.load(file, weights_only=True))
    h, w = size
    margin = (0, 0), (0, 0), (0, worked[0] - h), (0, worked[1] - w)  # to the right and below
    pair = (torch.from_numpy(np.pad(x[None], margin, "edge")) * 2 - 1 for x in (this, prev))
    with torch.no_grad():
        known = network(*pair)[-1][0, :, :h, :w]
    torch.testing.assert_close(forth, known)


def test_lpips_of_its_authors(weights):
    pytest.importorskip("lpips", reason="the package lpips is not in ComfyUI's Python")
    lpips = judges.load_lpips()
    a, b = pictures(2, 24, 100, 1), pictures(2, 24, 100, 2)  # less than AlexNet's strides leave
    assert lpips(a, a).tolist() == [0, 0]
    both = lpips(a, b)
    assert both.shape == (2,) and both.isfinite().all() and (both > 0).all()
    torch.testing.assert_close(both[1:], lpips(a[1:], b[1:]))
