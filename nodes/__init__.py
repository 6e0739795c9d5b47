"""ComfyUI's way in. Imported by ComfyUI only, through `comfy_entrypoint` in the root package."""

from comfy_api.latest import ComfyExtension, io


class StyleAVideoExtension(ComfyExtension):
    """The pack as ComfyUI sees it; it offers no blocks yet."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return []
