"""Device and precision, where the user leaves them to us."""

import pytest
import torch
from style_a_video.pipelines import device
from style_a_video.pipelines.cli.words import WORDS
from style_a_video.pipelines.errors import StyleAVideoError


def test_auto_precision_follows_the_processor(tmp_path, monkeypatch):
    info = tmp_path / "cpuinfo"
    for flags, fast in (("fpu avx512f avx512_bf16", True), ("fpu amx_bf16", True), ("fpu", False)):
        info.write_text(f"model name\t: X\nflags\t\t: {flags}\nflags\t\t: {flags}\n")
        assert device.fast_bf16(info) is fast
    assert device.fast_bf16(tmp_path / "none") is False
    cpu = torch.device("cpu")
    for fast, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(device, "fast_bf16", lambda fast=fast: fast)
        assert device.pick_dtype("auto", cpu) is dtype
    assert device.pick_dtype("auto", torch.device("cuda")) is torch.float16
    with pytest.raises(StyleAVideoError, match="use torch.bfloat16 or torch.float32") as told:
        device.pick_dtype("fp16", cpu)
    assert told.value.worded(WORDS) == "fp16 is not for CPUs: use --dtype bf16 or fp32."


def test_a_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device.pick_device("auto") == torch.device("cpu")
    with pytest.raises(StyleAVideoError, match="'cuda'.*has: cpu"):
        device.pick_device("cuda")
