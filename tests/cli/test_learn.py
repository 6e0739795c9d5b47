"""style-a-video learn, and what --style then takes."""

import pytest
from PIL import Image
from style_a_video.pipelines.cli.main import main
from style_a_video.pipelines.media import probe
from style_a_video.pipelines.run import demo
from style_a_video.pipelines.run.learning import Learner

ONCE = Learner.learn


def pressed(learner):
    """Ctrl-C after the first step."""
    if learner.step == 1:
        raise KeyboardInterrupt
    ONCE(learner)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("STYLE_A_VIDEO_STYLES", str(tmp_path / "styles"))
    monkeypatch.chdir(tmp_path)
    stripes = Image.new("RGB", (96, 96), "gold")
    for x in range(0, 96, 12):
        stripes.paste("navy", (x, 0, x + 6, 96))
    stripes.save("stripes.png")
    return tmp_path


def learn(*arguments):
    return main(["learn", "stripes.png", "--steps", "2", *arguments])


def test_a_style_is_learned_and_used(place, capsys):
    assert learn("--name", "mine", "--preview", "preview.jpg") == 0
    out, err = capsys.readouterr()
    assert out == f"{place / 'styles' / 'mine.safetensors'}\n" and "--style mine" in err
    assert [path.name for path in (place / "styles").iterdir()] == ["mine.safetensors"]
    assert Image.open("preview.jpg").size == (160, 160)
    main(["info"])
    assert "mine, " in capsys.readouterr().out
    demo.film(place / "in.mp4", demo.SHOTS[:1], 2)
    given = ["stylize", "in.mp4", "out.mp4", "--max-side", "64", "--no-refine", "--style"]
    assert main([*given, "mine:2", "--style", "scream"]) == 0
    assert probe(place / "out.mp4").width == 64
    assert main([*given, str(place / "styles" / "mine.safetensors")]) == 0


def refused(*arguments, capsys):
    assert learn(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err.removeprefix("style-a-video: error: ").strip()


def test_a_name_is_taken_once(place, capsys):
    assert learn("--name", "mine") == 0
    before = (place / "styles" / "mine.safetensors").read_bytes()
    capsys.readouterr()
    assert refused("--name", "mine", capsys=capsys) == (
        "There is a style mine already: choose another name, or learn it anew with --fresh."
    )
    assert (place / "styles" / "mine.safetensors").read_bytes() == before
    assert learn("--name", "mine", "--fresh") == 0


def test_a_name_that_ships_is_told(place, capsys):
    assert learn("--name", "scream") == 0
    told = "A style scream ships too: from now on --style scream is yours."
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "../mine", "a b", "x" * 65])
def test_a_name_is_a_name(name, place, capsys):
    told = refused("--name", name, capsys=capsys)
    assert told == f"--name must be 1 to 64 letters, digits, _ or -, not {name!r}."
    assert not (place / "styles").exists()


def test_after_ctrl_c_it_goes_on(place, capsys, monkeypatch):
    monkeypatch.setattr(Learner, "learn", pressed)
    assert learn("--name", "mine") == 130
    assert "What is learned is kept: the same command goes on." in capsys.readouterr().err
    monkeypatch.setattr(Learner, "learn", ONCE)
    assert learn("--name", "mine") == 0
    assert "1 steps were done by a former run." in capsys.readouterr().err


def test_the_demo_shows_every_style_that_ships():
    from style_a_video.pipelines.cli.demo import _choice
    from style_a_video.weights.stylebank import BASE

    shown = _choice("stylebank")
    assert [style.learned[0].name for style in shown] == [style.name for style in BASE]


def test_another_picture_does_not_take_what_was_learned(place, capsys, monkeypatch):
    monkeypatch.setattr(Learner, "learn", pressed)
    assert learn("--name", "mine") == 130
    monkeypatch.setattr(Learner, "learn", ONCE)
    Image.new("RGB", (96, 96), "red").save("stripes.png")
    kept = place / "styles" / ".mine.progress"
    before = kept.read_bytes()
    capsys.readouterr()
    assert refused("--name", "mine", capsys=capsys) == (
        "A style of this name was begun from another picture: choose another name, or delete "
        f"{kept}."
    )
    assert kept.read_bytes() == before
    assert learn("--name", "mine", "--fresh") == 0
    assert not kept.exists()


def test_it_may_go_on_for_longer(place, capsys, monkeypatch):
    monkeypatch.setattr(Learner, "learn", pressed)
    assert learn("--name", "mine", "--preview", "p.jpg") == 130
    assert Image.open("p.jpg").size == (160, 160)
    monkeypatch.setattr(Learner, "learn", ONCE)
    assert main(["learn", "stripes.png", "--steps", "3", "--name", "mine"]) == 0
    assert "1 steps were done by a former run." in capsys.readouterr().err
