import sys
from pathlib import Path
from runpy import run_path

import pytest

_nursery = run_path(str(Path(__file__).with_name("nursery.py")))


@pytest.fixture(scope="session")
def nursery():
    """Runs command lines in children with limits: see nursery.py."""
    if not sys.platform.startswith("linux"):
        pytest.skip("limits of memory are Linux's")
    made = _nursery["Nursery"]()
    yield made
    made.close()


@pytest.fixture(scope="session")
def assert_one_sentence():
    return _nursery["assert_one_sentence"]
