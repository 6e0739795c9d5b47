"""ComfyUI's way in. Imported by ComfyUI only, through `comfy_entrypoint` in the root package."""

from comfy_api.latest import ComfyExtension, io

from ..pipelines.errors import StyleAVideoError
from .align import AlignToSource
from .analogy import DeepImageAnalogy
from .attention import AttentionCondition, AttentionMap, AttentionOverlay
from .builtin_model import LoadBuiltInModel
from .compare import Compare
from .conditions import FrameCondition, TextCondition
from .correction import ClipCorrectionNode
from .edit_model import LoadEditModel
from .engine import EngineFrames, LoadEngine, StylePictureNode
from .guidance import MultiConditionGuiderNode, PresetGuiderNode, WeightedConditionNode
from .host import guard
from .inner_levels import InnerLevels
from .learning import LearnedStyleNode, LearnStyle
from .noise import FrameNoiseNode
from .painted import PaintedKeyframes
from .picture_condition import PictureCondition
from .stream import StylizeVideo
from .stylize import Stylize
from .temporal import ConsistencyReport, TemporalRefiner
from .two_models import TwoModelGuiderNode
from .video import FramesToVideo, LoadFrames
from .words import WORDS

StyleAVideoError.words = WORDS

# In the order of the chain. The ids in their schemas are forever: saved workflows hold them.
NODES: list[type[io.ComfyNode]] = [
    LoadBuiltInModel,
    LoadEditModel,
    InnerLevels,
    LoadFrames,
    FrameCondition,
    TextCondition,
    PictureCondition,
    AttentionMap,
    AttentionCondition,
    AttentionOverlay,
    WeightedConditionNode,
    MultiConditionGuiderNode,
    PresetGuiderNode,
    TwoModelGuiderNode,
    ClipCorrectionNode,
    FrameNoiseNode,
    Stylize,
    StylePictureNode,
    LearnedStyleNode,
    LearnStyle,
    DeepImageAnalogy,
    LoadEngine,
    PaintedKeyframes,
    EngineFrames,
    StylizeVideo,
    AlignToSource,
    TemporalRefiner,
    FramesToVideo,
    Compare,
    ConsistencyReport,
]


for block in NODES:
    guard(block)


class StyleAVideoExtension(ComfyExtension):
    """The pack as ComfyUI sees it."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES
