"""Run by ComfyUI-Manager and comfy-cli after requirements.txt: brings OpenCV where there is none.

Its builds (opencv-python, -headless, -contrib) share one module and overwrite each other, and
requirements.txt cannot say "any of them".
"""

import importlib.util
import subprocess
import sys

if importlib.util.find_spec("cv2") is None:
    subprocess.check_call([sys.executable, "-m", "pip", "install", "opencv-python-headless"])
