"""What holds the tree together: import rules, a light import, one version, lint and types."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "style_a_video"
SOURCES = [
    ROOT / "__init__.py",
    *(p for d in ("pipelines", "weights", "nodes") for p in sorted((ROOT / d).rglob("*.py"))),
]


def imports(path, module_level_only=False):
    """Modules that `path` imports; those of this package with their name resolved."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if module_level_only:
        functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
        nodes, queue = [], [tree]
        while queue:
            node = queue.pop()
            nodes.append(node)
            children = list(ast.iter_child_nodes(node))
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                children = [*node.orelse]  # the rest never runs
            queue += [n for n in children if not isinstance(n, functions)]
    else:
        nodes = list(ast.walk(tree))
    parents = [PACKAGE, *path.relative_to(ROOT).parent.parts]
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if not node.level:
                found.add(node.module)
                continue
            base = parents[: len(parents) - node.level + 1]
            assert base, f"{path}: relative import leaves the package"
            base += node.module.split(".") if node.module else []
            # `from ..core import guidance` names a module, `from .errors import E` a member: both.
            found |= {".".join([*base, alias.name]) for alias in node.names}
    return found


def within(name, package):
    return name == package or name.startswith(package + ".")


def ours(path, **kwargs):
    return {m for m in imports(path, **kwargs) if within(m, PACKAGE)}


def name(path):
    return path.relative_to(ROOT).as_posix()


def test_the_import_reader_sees_what_it_must(tmp_path):
    file = ROOT / "pipelines" / "core" / "not_there.py"

    class Fake(type(file)):  # a path inside the tree whose text is ours
        def read_text(self, encoding=None):
            return (
                "import torch\nfrom einops import rearrange\nfrom .. import stylize\n"
                "from ...weights.loading import load\n"
                "def f():\n    from ...nodes import host\n"
            )

    assert imports(Fake(file)) == {
        "torch",
        "einops",
        "style_a_video.pipelines.stylize",
        "style_a_video.weights.loading.load",
        "style_a_video.nodes.host",
    }
    assert "style_a_video.nodes.host" not in imports(Fake(file), module_level_only=True)


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines" / "core").rglob("*.py")), ids=name)
def test_core_needs_torch_and_einops_only(path):
    allowed = {"torch", "einops", *sys.stdlib_module_names}
    foreign = {
        m
        for m in imports(path)
        if m.split(".")[0] not in allowed and not within(m, f"{PACKAGE}.pipelines.core")
    }
    assert not foreign


@pytest.mark.parametrize("path", sorted((ROOT / "weights").rglob("*.py")), ids=name)
def test_weights_load_without_pipelines(path):
    upward = {
        m
        for m in ours(path, module_level_only=True)
        if not within(m, f"{PACKAGE}.weights")
        and not within(m, f"{PACKAGE}.pipelines.errors")
        and not within(m, f"{PACKAGE}.pipelines.files")
    }
    assert not upward


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_only_relative_imports_and_nothing_imports_nodes(path):
    source = path.read_text(encoding="utf-8")
    absolute = re.findall(rf"^\s*(?:from|import) {PACKAGE}\b", source, re.MULTILINE)
    assert not absolute, "ComfyUI names the package by its path: import relatively"
    # The one door is the guarded entry point in the root package.
    inside = path.is_relative_to(ROOT / "nodes") or path == ROOT / "__init__.py"
    assert inside or not any(within(m, f"{PACKAGE}.nodes") for m in ours(path))
    assert not any(within(m, f"{PACKAGE}.nodes") for m in ours(path, module_level_only=True)) or (
        path.is_relative_to(ROOT / "nodes")
    )


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_comfyui_is_imported_by_nodes_only(path):
    host = {m for m in imports(path) if m.split(".")[0] in {"comfy", "comfy_api", "comfy_extras"}}
    assert path.is_relative_to(ROOT / "nodes") or not host


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_the_legacy_node_table_is_absent(path):
    # Even an empty one makes ComfyUI ignore comfy_entrypoint.
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    assert "NODE_CLASS_MAPPINGS" not in names


ROOMS = ("media", "refine", "run", "report", "cli")
INSIDE = f"{PACKAGE}.pipelines.engines"


@pytest.mark.parametrize(
    "path",
    [p for room in ROOMS[:-1] for p in sorted((ROOT / "pipelines" / room).rglob("*.py"))],
    ids=name,
)
def test_streams_jobs_cluster_and_report_know_no_engine(path):
    """A new engine is a new folder: nothing of these learns of it."""
    allowed = [f"{INSIDE}.{module}" for module in ("kinds", "options", "style")]
    known = {m for m in ours(path) if within(m, INSIDE)}
    assert not {m for m in known if not any(within(m, module) for module in allowed)}


def engines():
    """The names of all engines, as the registry lists them."""
    from style_a_video.pipelines.engines.registry import KINDS

    return {kind.name for kind in KINDS}


def constants(path):
    """The string constants of a file, pieces of f-strings among them; no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    nodes = (n for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in docs)
    return [n.value for n in nodes if isinstance(n.value, str)]


@pytest.mark.parametrize(
    "path",
    [p for room in ROOMS for p in sorted((ROOT / "pipelines" / room).rglob("*.py"))],
    ids=name,
)
def test_no_engine_is_named_outside_the_registry(path):
    words = {word for text in constants(path) for word in re.findall(r"[\w-]+", text)}
    assert not words & engines()


def test_the_registry_lists_every_engine_once():
    files = sorted((ROOT / "pipelines" / "engines").rglob("*.py"))
    having = [p for p in files if re.search(r"^KIND = EngineKind\(", p.read_text("utf-8"), re.M)]
    from style_a_video.pipelines.engines.registry import KINDS

    assert len(engines()) == len(KINDS) == len(having)


def run(*command, **kwargs):
    return subprocess.run(command, capture_output=True, text=True, timeout=600, **kwargs)


def test_importing_the_package_is_light_and_headless(tmp_path):
    code = (
        "import sys, inspect, style_a_video\n"
        "assert inspect.iscoroutinefunction(style_a_video.comfy_entrypoint)\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'av', 'comfy_api', 'style_a_video.nodes'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = run(sys.executable, "-c", code, cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_one_version():
    import style_a_video

    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r'^version = "(.+)"$', project, re.MULTILINE)[1] == style_a_video.__version__
    assert re.search(r"^version: (.+)$", citation, re.MULTILINE)[1] == style_a_video.__version__


def test_comfyui_requirements_are_the_package_s_without_torch():
    """Which ComfyUI's Python has already."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)[1]
    dependencies = set(re.findall(r'"(.+)"', block))
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = {line for line in lines if line and not line.startswith("#")}
    assert listed - {"matplotlib"} == dependencies - {"torch>=2.6"}
    assert "torch>=2.6" in dependencies


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_nothing_is_installed_or_evaluated_while_it_runs(path):
    """The registry of ComfyUI refuses packs that do; install.py counts as a part of them."""
    assert not (ROOT / "install.py").exists()
    calls = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)]
    assert not {n.func.id for n in calls if isinstance(n.func, ast.Name)} & {"eval", "exec"}
    assert not imports(path) & {"subprocess", "pip"}


NEEDED = ("__init__.py", "pyproject.toml", "requirements.txt", "LICENSE", "README.md")
CODE = ("nodes", "pipelines", "weights")
NEEDED_BELOW = (*CODE, "locales", "subgraphs", "web/docs", "workflows/api")


def test_comfyui_s_archive_has_what_runs_and_little_else():
    """Of .comfyignore, whose rules are those of .gitignore."""

    def tracked(*options):
        done = run("git", "ls-files", "-z", *options, cwd=ROOT)
        if done.returncode:
            pytest.skip("no git here")
        return set(filter(None, done.stdout.split("\0")))

    left_out = tracked("--cached", "--ignored", "--exclude-from=.comfyignore")
    assert not left_out & set(NEEDED)
    assert not [name for name in left_out if name.startswith(tuple(f"{d}/" for d in NEEDED_BELOW))]
    kept = {name for name in tracked() - left_out if (ROOT / name).is_file()}
    assert not [name for name in kept if name.startswith(("tests/", "training/", "benchmarks/"))]
    templates = {name for name in kept if re.fullmatch(r"workflows/[^/]+\.json", name)}
    assert templates and {name.replace(".json", ".jpg") for name in templates} <= kept
    rest = [ROOT / name for name in kept if not name.startswith("weights/")]
    assert sum(path.stat().st_size for path in rest) <= 8_000_000


def test_every_package_is_shipped():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^packages = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)[1]
    present = {".".join([PACKAGE, *p.relative_to(ROOT).parent.parts]) for p in SOURCES}
    assert set(re.findall(r'"(.+)"', block)) == present


def test_every_file_beside_the_code_is_shipped():
    """Weights, cards, pictures, pages: what an installed wheel would miss."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = project.split("[tool.setuptools.package-data]")[1].split("\n[")[0]
    given = re.findall(rf'^"{PACKAGE}\.(.+)" = \[(.+)\]$', block, re.MULTILINE)
    shipped = {
        path
        for package, patterns in given
        for pattern in re.findall(r'"(.+?)"', patterns)
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    done = run("git", "ls-files", "-z", "pipelines", "weights", cwd=ROOT)
    if done.returncode:
        pytest.skip("no git here")
    tracked = {ROOT / name for name in done.stdout.split("\0") if name}
    assert given and not {p for p in tracked - shipped if p.suffix != ".py" and p.is_file()}


def test_built_in_model_is_small():
    embedded = ROOT / "weights" / "embedded"
    if not (embedded / "model_index.json").exists():
        pytest.skip("the built-in model is not in this checkout")
    files = [p for p in embedded.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= 25_000_000
    assert not [p.name for p in files if p.suffix in {".bin", ".pt", ".pth", ".ckpt", ".pkl"}]
    # package-data in pyproject reaches two levels.
    assert all(len(p.relative_to(embedded).parts) <= 2 for p in files)


def test_ruff():
    done = run(sys.executable, "-m", "ruff", "check", ".", cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_types(tmp_path):
    # The checkout may have any name; the type checker must see the one it is imported by.
    (tmp_path / PACKAGE).symlink_to(ROOT, target_is_directory=True)
    config = ["--config-file", str(ROOT / "pyproject.toml")]
    cache = ["--cache-dir", str(ROOT / ".mypy_cache")]
    packages = [f"{PACKAGE}.{d}" for d in ("pipelines", "weights", "nodes")]
    flags = [flag for p in packages for flag in ("-p", p)]
    done = run(sys.executable, "-m", "mypy", *config, *cache, *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
