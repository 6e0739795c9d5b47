"""Video files as streams, as the rest of the tree uses them; the parts are in `media`."""

from .encoded import to_picture
from .formats import CODECS, NORMAL, QUALITIES, check_target, kind_of, suffix_of
from .frames import Frame, VideoInfo, seconds
from .opening import open_input, origin_of, video_stream
from .part import WHOLE, Part
from .probing import probe
from .reading import read_frames
from .sizes import MAX_SIDE, fit
from .stills import read_still
from .writing import VideoWriter, check_not_input, foreseen

__all__ = [
    "CODECS",
    "MAX_SIDE",
    "NORMAL",
    "QUALITIES",
    "WHOLE",
    "Frame",
    "Part",
    "VideoInfo",
    "VideoWriter",
    "check_not_input",
    "check_target",
    "fit",
    "foreseen",
    "kind_of",
    "open_input",
    "origin_of",
    "probe",
    "read_frames",
    "read_still",
    "seconds",
    "suffix_of",
    "to_picture",
    "video_stream",
]
