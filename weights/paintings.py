"""Pictures that come with the package, to try a style with (pictures/README.md)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "pictures"


@dataclass(frozen=True)
class Painting:
    name: str
    file: str

    @property
    def path(self) -> Path:
        return FOLDER / self.file


PAINTINGS = (
    Painting("Starry Night, Van Gogh", "starry_night_vangogh_1889.jpg"),
    Painting("The Scream, Munch", "scream_munch_1893.jpg"),
    Painting("The Great Wave, Hokusai", "wave_hokusai_1831.jpg"),
    Painting("Composition VII, Kandinsky", "composition_vii_kandinsky_1913.jpg"),
    Painting("Water Lilies, Monet", "water_lilies_monet_1919.jpg"),
    Painting("Shipwreck, Turner", "shipwreck_turner_1810.jpg"),
)
PHOTOS = (Painting("Orange Hallway, photo", "orange_hallway.jpg"),)


def painting(name: str) -> Painting:
    """The painting or photo of that name; a KeyError where there is none."""
    return {one.name: one for one in (*PAINTINGS, *PHOTOS)}[name]
