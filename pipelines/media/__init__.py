"""Video files as streams, as the rest of the tree uses them; the parts are in `media`."""

from .encoded import to_picture
from .formats import CODECS, check_target, kind_of, suffix_of
from .frames import Frame, VideoInfo, seconds
from .opening import open_input, origin_of, video_stream
from .probing import probe
from .reading import read_frames
from .stills import read_picture
from .writing import VideoWriter, foreseen

__all__ = [
    "CODECS",
    "Frame",
    "VideoInfo",
    "VideoWriter",
    "check_target",
    "foreseen",
    "kind_of",
    "open_input",
    "origin_of",
    "probe",
    "read_frames",
    "read_picture",
    "seconds",
    "suffix_of",
    "to_picture",
    "video_stream",
]
