"""Learned styles as files: those that ship, a user's own, and what is refused."""

import pytest
import torch
from safetensors.torch import save_file
from style_a_video.pipelines.core.stylebank import BANK, unchanged
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.weights import stylebank as weights


def about():
    return {"network": weights.network_identity()}


def test_all_that_is_promised_ships():
    assert weights.style_names([weights.SHIPPED]) == sorted(style.name for style in weights.BASE)
    for style in weights.BASE:
        assert weights.read_style(weights.SHIPPED / f"{style.name}.safetensors").shape == BANK
    sizes = sum(path.stat().st_size for path in weights.FOLDER.rglob("*") if path.is_file())
    assert len(weights.BASE) >= 12 and sizes <= 12e6


def test_the_networks_are_frozen_and_can_be_learned_with():
    with torch.inference_mode():
        network = weights.load_network()
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    assert not any(p.is_inference() for p in network.parameters())


def test_a_style_is_written_whole_and_read_back(tmp_path):
    path = tmp_path / "styles" / "mine.safetensors"
    weights.write_style(path, unchanged(), {**about(), "picture": "of"})
    assert torch.equal(weights.read_style(path), unchanged())
    assert weights.about_style(path) == {**about(), "picture": "of"}
    assert [p.name for p in path.parent.iterdir()] == ["mine.safetensors"]


def test_a_name_is_looked_for_in_the_user_s_folder_first(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("STYLE_A_VIDEO_STYLES", str(tmp_path))
    folders = (weights.own_styles(), weights.SHIPPED)
    assert weights.find_style("scream", folders).parent == weights.SHIPPED
    assert not caplog.messages
    path = tmp_path / "scream.safetensors"
    weights.write_style(path, unchanged(), about())
    assert [weights.find_style("scream", folders) for _ in range(2)] == [path, path]
    assert caplog.messages == [
        f"The learned style scream is your own, {path}: it hides the one of that name that ships."
    ]
    assert weights.style_names(folders).count("scream") == 1


@pytest.mark.parametrize("name", ["screem", "../scream", "", "styles/scream"])
def test_an_unknown_name_is_answered_by_those_that_are_there(name):
    with pytest.raises(StyleAVideoError) as refusal:
        weights.find_style(name, [weights.SHIPPED])
    names = ", ".join(weights.style_names([weights.SHIPPED]))
    assert str(refusal.value) == f"There is no learned style {name!r}; there are: {names}."


def refusal_of(path):
    with pytest.raises(StyleAVideoError) as refusal:
        weights.read_style(path)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_files_of_strangers(tmp_path):
    path = tmp_path / "s.safetensors"
    assert "There is no file" in refusal_of(path)
    torch.save({"filters": unchanged()}, path)
    assert "is a pickle in spite of its name" in refusal_of(path)
    for tensors in ({"filters": torch.zeros(3)}, {"others": unchanged()}):
        save_file(tensors, path, about())
        assert refusal_of(path).endswith("is no learned style: make one with style-a-video learn.")
    save_file({"filters": unchanged()}, path)
    assert "was learned for other networks than those of this version" in refusal_of(path)
    save_file({"filters": unchanged() * float("nan")}, path, about())
    assert "holds NaN or infinity" in refusal_of(path)
    path.write_bytes(path.read_bytes()[:-100])
    assert "is truncated" in refusal_of(path)


def test_what_is_no_file_is_no_style(tmp_path):
    (tmp_path / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.safetensors").mkdir()
    assert weights.style_names([tmp_path]) == []
    with pytest.raises(StyleAVideoError, match="There is no learned style 'gone'"):
        weights.find_style("gone", [tmp_path])
