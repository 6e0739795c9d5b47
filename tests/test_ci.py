"""What the public CI tries is what pyproject.toml promises."""

import re
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).resolve().parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
FILES = sorted((ROOT / ".github").rglob("*.yml"))


def jobs():
    text = (ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["jobs"]


def matrix(job):
    return jobs()[job]["strategy"]["matrix"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_can_be_read_and_every_step_does_something(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    for job in content.get("jobs", {}).values():
        assert job["runs-on"] and job["steps"]
        assert all(("run" in step) != ("uses" in step) for step in job["steps"])


def test_every_python_and_every_system_is_tried():
    tried = matrix("test")
    pairs = {(system, python) for system in tried["system"] for python in tried["python"]}
    pairs |= {(one["system"], one["python"]) for one in tried["include"]}
    pythons = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PROJECT)
    assert {("ubuntu-latest", python) for python in pythons} <= pairs
    for system in ("macos-latest", "windows-latest"):
        assert {(system, pythons[0]), (system, pythons[-1])} <= pairs
    assert f'requires-python = ">={pythons[0]}"' in PROJECT


def test_the_lowest_versions_are_those_that_are_allowed():
    (lowest,) = [one for one in matrix("dependencies")["include"] if one["name"] == "lowest"]
    block = re.search(r"^dependencies = \[(.*?)^\]", PROJECT, re.MULTILINE | re.DOTALL)[1]
    allowed = dict(re.findall(r'"(\w+)>=([\d.]+)"', block))
    pinned = dict(re.findall(r"(\w+)==([\d.]+)", lowest["packages"]))
    pinned, allowed = (
        {name: re.sub(r"(\.0)*\.?$", "", version) for name, version in given.items()}
        for given in (pinned, allowed)
    )
    assert pinned == allowed and len(pinned) >= 4


def test_the_oldest_comfyui_and_its_newest_are_tried():
    oldest = re.search(r'requires-comfyui = ">=([\d.]+)"', PROJECT)[1]
    assert matrix("comfyui")["version"] == [f"v{oldest}", "master"]


def test_wheel_and_sdist_are_installed_in_a_clean_place():
    tried = matrix("installed")
    packages = {*tried["package"], *(one["package"] for one in tried["include"])}
    assert packages == {"*.whl", "*.tar.gz"} and len(tried["system"]) == 3
    commands = [step.get("run", "") for step in jobs()["installed"]["steps"]]
    assert "style-a-video demo" in commands
