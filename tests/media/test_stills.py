"""Single pictures of any kind: what is seen of them, and the sentences that refuse the rest."""

import numpy as np
import pytest
from PIL import Image
from style_a_video.pipelines.errors import StyleAVideoError
from style_a_video.pipelines.media import read_still

SIDES, SEEN = (16, 16384), 1024
COLOUR = (200, 100, 50)


@pytest.fixture
def saved(tmp_path):
    def save(image, name, **options):
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return save


def seen(path):
    """The colour of the middle, 0..255."""
    image = read_still(path, SIDES, SEEN)
    assert image.shape[0] == 3 and image.min() >= 0 and image.max() <= 1
    return (255 * image[:, image.shape[1] // 2, image.shape[2] // 2]).round().int().tolist()


def plain(mode="RGB", colour=COLOUR, size=(48, 32)):
    return Image.new(mode, size, colour)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.tif", "a.gif"])
def test_every_common_kind_is_read(name, saved):
    assert np.abs(np.array(seen(saved(plain(), name))) - COLOUR).max() <= 3


def test_the_bytes_count_not_the_name(saved):
    path = saved(plain(), "a.png")
    assert seen(path.rename(path.with_suffix(".txt"))) == list(COLOUR)


def test_grey_cmyk_and_palettes_become_rgb(saved):
    assert seen(saved(plain("L", 90), "grey.png")) == [90] * 3
    assert seen(saved(plain("1", 1), "bits.png")) == [255] * 3
    assert seen(saved(plain().convert("P", palette=Image.Palette.ADAPTIVE), "p.png")) == [*COLOUR]
    cmyk = saved(plain().convert("CMYK"), "cmyk.jpg", quality=95)
    assert np.abs(np.array(seen(cmyk)) - COLOUR).max() <= 3


def test_16_bits_keep_their_light(saved):
    values = np.full((32, 48), 200 * 257, np.uint16)
    assert seen(saved(Image.fromarray(values), "deep.png")) == [200] * 3
    assert seen(saved(Image.fromarray(values), "deep.tif")) == [200] * 3


def test_what_is_transparent_is_white(saved):
    assert seen(saved(plain("RGBA", (*COLOUR, 0)), "clear.png")) == [255] * 3
    assert seen(saved(plain("RGBA", (0, 0, 0, 51)), "glass.png")) == [204] * 3
    assert seen(saved(plain("LA", (0, 0)), "grey.png")) == [255] * 3
    assert seen(saved(plain(), "key.png", transparency=COLOUR)) == [255] * 3
    assert seen(saved(plain("RGBA", (*COLOUR, 255)), "solid.webp", lossless=True)) == [*COLOUR]


def test_a_camera_s_turn_is_made(saved):
    image = plain()
    image.paste((0, 0, 0), (0, 0, 24, 32))  # the left half
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it clockwise to see it
    upright = read_still(saved(image, "turned.jpg", exif=exif, quality=95), SIDES, SEEN)
    assert upright.shape == (3, 48, 32)
    assert upright[:, :20].mean() < 0.1 < 0.3 < upright[:, 28:].mean()


def test_a_photo_with_a_preview_behind_it_is_a_photo(saved):
    """As telephones write them: Pillow takes the second for a further frame."""
    small = Image.new("RGB", (16, 16))
    path = saved(plain(), "phone.jpg", format="MPO", save_all=True, append_images=[small])
    assert np.abs(np.array(seen(path)) - COLOUR).max() <= 3


@pytest.mark.parametrize("name", ["moving.gif", "moving.webp", "moving.png"])
def test_what_moves_is_refused(name, saved):
    more = [plain(colour=(9 * i, 0, 0)) for i in range(3)]
    assert refused(saved(plain(), name, save_all=True, append_images=more)) == (
        "is animated: give a picture that stands still."
    )


def refused(path):
    """What is said of it after its name."""
    with pytest.raises(StyleAVideoError) as refusal:
        read_still(path, SIDES, SEEN)
    name, told = str(refusal.value)[: len(str(path))], str(refusal.value)[len(str(path)) + 1 :]
    assert name == str(path)
    return told


@pytest.mark.parametrize("size", [(1, 1), (15, 400), (20_000, 32), (32, 16_385)])
def test_too_small_and_too_large(size, saved):
    width, height = size
    assert refused(saved(plain("L", 0, size), "a.png")) == (
        f"is {width}x{height}: give a picture with sides of 16 to 16,384 px."
    )


def test_a_bomb_is_not_decoded(tmp_path, saved):
    """A picture of 400 million pixels, 50 kB: the head says so."""
    path = saved(plain("1", 0, (20_000, 20_000)), "bomb.png")
    assert refused(path) == "has too many pixels: give a picture with sides of 16 to 16,384 px."


@pytest.mark.filterwarnings("error")
def test_a_poster_is_read_without_a_warning(saved):
    assert read_still(saved(plain("1", 1, (16_000, 4_000)), "a.png"), SIDES, SEEN).shape == (
        3,
        256,
        1024,
    )


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF"])
def test_what_is_no_picture(data, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    assert refused(path) == "is not a picture that can be read: give a PNG, JPEG or WebP file."


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_a_picture_that_is_cut_short(name, saved):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    path = saved(Image.fromarray(noise), name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refused(path) in (
        "cannot be decoded: save it again.",
        "is not a picture that can be read: give a PNG, JPEG or WebP file.",
    )


def test_what_is_no_file(tmp_path):
    (tmp_path / "folder").mkdir()
    for name, told in (
        ("none.png", "There is no picture {}: give a PNG, JPEG or WebP file."),
        ("folder", "{} is a folder: give one of the pictures in it."),
    ):
        with pytest.raises(StyleAVideoError) as refusal:
            read_still(tmp_path / name, SIDES, SEEN)
        assert str(refusal.value) == told.format(tmp_path / name)
