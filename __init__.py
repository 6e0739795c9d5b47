"""Style-A-Video: text-driven video stylization by latent diffusion (Huang et al. 2023)."""

__version__ = "0.2.0"

# ComfyUI serves this folder to the browser: the help pages, web/docs/<node id>/<language>.md.
WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """Called by ComfyUI when it loads this folder as a node pack; nothing else imports `nodes`."""
    from .nodes import StyleAVideoExtension

    return StyleAVideoExtension()
