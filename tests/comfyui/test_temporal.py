"""The refiner and the report as blocks."""

from __future__ import annotations

import json

import pytest
import torch
from style_a_video.nodes import builtin_model, temporal
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.refine.frames import Refining, refine_frames

pytest.importorskip("cv2", reason="OpenCV is not in ComfyUI's Python")


@pytest.fixture(scope="module")
def clip():
    """Source and stylized (8,64,96,3): waves that move right, and the same with grain."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    waves = [torch.sin((x - 2 * f) / 7) * torch.cos(y / 9) * 0.4 + 0.5 for f in range(8)]
    source = torch.stack(waves)[..., None].repeat(1, 1, 1, 3)
    grain = 0.05 * torch.randn(source.shape, generator=torch.Generator().manual_seed(0))
    return source, (1 - source + grain).clamp(0, 1)


@pytest.mark.parametrize("method", ["learned", "blend"])
def test_the_block_is_the_pipeline_s_refiner(clip, method):
    source, stylized = clip
    (result,) = temporal.TemporalRefiner.execute(source, stylized, 0.8, method, "dis").args
    pairs = zip(*(c.movedim(-1, 1) for c in clip), strict=True)
    known = torch.stack(list(refine_frames(pairs, Refining(0.8, method))))
    torch.testing.assert_close(result, known.movedim(1, -1), atol=1e-5, rtol=0)
    assert not torch.equal(result[1:], stylized[1:]) and torch.equal(result[0], stylized[0])


def test_strength_0_is_the_very_clip(clip):
    assert temporal.TemporalRefiner.execute(*clip, 0.0, "learned", "dis")[0] is clip[1]


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_alpha_stays_at_every_strength(clip, strength):
    source, stylized = clip
    alpha = torch.rand(*stylized.shape[:3], 1, generator=torch.Generator().manual_seed(1))
    result = temporal.refined(
        source, torch.cat([stylized, alpha], -1), Refining(strength, method="blend")
    )
    assert torch.equal(result[..., 3:], alpha)
    known = temporal.refined(source, stylized, Refining(strength, method="blend"))
    assert torch.equal(result[..., :3], known)


def test_other_numbers_of_frames_are_refused(clip):
    with pytest.raises(StyleAVideoError, match="source has 8 frames and the stylized clip 3"):
        temporal.TemporalRefiner.execute(clip[0], clip[1][:3], 1.0, "learned", "dis")


def test_the_report_measures_each_result_beside_the_source(clip, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    import folder_paths

    monkeypatch.setattr(folder_paths, "get_temp_directory", lambda: str(tmp_path))
    source, stylized = clip
    calm = temporal.refined(source, stylized, Refining(method="blend"))
    vision = builtin_model.LoadBuiltInModel.execute()[3]
    larger = torch.nn.functional.interpolate(source.movedim(-1, 1), scale_factor=2).movedim(1, -1)
    results = {"result_0": stylized, "result_1": calm, "result_2": None}
    output = temporal.ConsistencyReport.execute(larger, results, 25.0, "dis", vision)
    plot, table, numbers = output.args
    assert plot.ndim == 4 and plot.shape[-1] == 3 and plot.std() > 0
    assert [line.split()[0] for line in table.splitlines()[1:4]] == ["source", "result", "result"]
    measured = json.loads(numbers)["clips"]
    assert [clip["name"] for clip in measured] == ["source", "result 1", "result 2"]
    errors = [clip["means"]["warping"] for clip in measured]
    assert errors[0] < errors[2] < errors[1]
    assert all(len(clip["series"]["consecutive"]) == 8 for clip in measured)
    assert output.ui["images"] and output.ui["text"]


def test_results_of_two_sizes_are_refused(clip):
    source, stylized = clip
    with pytest.raises(StyleAVideoError, match="compare clips of one size"):
        temporal.measured_clips(source, [stylized, stylized[:, :32]], 25.0, "dis", None)


def test_clips_of_other_lengths_are_refused_before_any_work(clip, monkeypatch):
    def measure(*_, **__):
        raise AssertionError("work was begun")

    monkeypatch.setattr(temporal, "measure", measure)
    source, stylized = clip
    for results, told in (
        ([stylized, stylized[:3]], "source has 8 frames and result 2 3"),
        ([stylized[:0]], "source has 8 frames and result 1 0"),
    ):
        with pytest.raises(StyleAVideoError, match=told):
            temporal.measured_clips(source, results, 25.0, "dis", None)
    with pytest.raises(StyleAVideoError, match="source has 0 frames") as refused:
        temporal.measured_clips(source[:0], [stylized[:0]], 25.0, "dis", None)
    assert "--" not in str(refused.value)


def test_it_is_measured_on_comfyui_s_device(clip, monkeypatch):
    source, stylized = (c[:2] for c in clip)
    found = temporal.measured_clips(source, [stylized], 25.0, "dis", None)
    asked = []
    monkeypatch.setattr(temporal, "measure", lambda *_, device, **__: asked.append(device) or found)
    temporal.measured_clips(source, [stylized], 25.0, "raft", None)
    assert asked == [temporal.comfy.model_management.get_torch_device()]


def test_the_built_in_clip_and_another_shape_are_told_of(clip):
    source, stylized = (c[:2] for c in clip)
    vision = builtin_model.LoadBuiltInModel.execute()[3]
    notes = temporal.measured_clips(source, [stylized], 25.0, "dis", vision).notes
    assert any(note.en.startswith("CLIP is the built-in model") for note in notes)
    wide = source[:, :40]
    notes = temporal.measured_clips(wide, [stylized], 25.0, "dis", None).notes
    assert [note.en.startswith("source has another shape") for note in notes].count(True) == 1
