"""What holds for the whole source: docstrings, sizes, layers, and that optional packages stay optional."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedloom.core.resolve import builder, known

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "fedloom"
FILES = sorted(SOURCE.rglob("*.py"))
LINES, FUNCTION = 300, 50
AXES = ("tasks", "scenarios", "sampling", "methods", "channel", "modalities", "adapters", "objectives")

Documented = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def name_of(file: Path) -> str:
    return str(file.relative_to(SOURCE))


def public(body: list[ast.stmt], inside: str = "") -> Iterator[tuple[str, Documented]]:
    """Public functions and classes of a module or class, with their qualified names."""
    for node in body:
        if isinstance(node, Documented) and not node.name.startswith("_"):
            yield inside + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{inside}{node.name}.")


def undocumented(file: Path) -> list[str]:
    """What lacks a docstring in a file; a method needs none where a method of the same name in the file has one."""
    module = ast.parse(file.read_text(encoding="utf-8"))
    found = dict(public(module.body))
    said = {name.split(".")[-1] for name, node in found.items() if "." in name and ast.get_docstring(node)}
    bare = [name for name, node in found.items() if not ast.get_docstring(node)]
    bare = [name for name in bare if "." not in name or name.split(".")[-1] not in said]
    return bare if ast.get_docstring(module) else ["the module", *bare]


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_everything_public_has_a_docstring(file: Path) -> None:
    assert undocumented(file) == []


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_no_file_is_long(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= LINES


def lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without those of its docstring, which may hold a paper's equations."""
    told = node.body[0].end_lineno - node.body[0].lineno + 1 if ast.get_docstring(node) else 0  # type: ignore[operator]
    return (node.end_lineno or node.lineno) - node.lineno + 1 - told


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_no_function_is_long(file: Path) -> None:
    made = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    functions = [node for node in made if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [node.name for node in functions if lines(node) > FUNCTION] == []


def test_imports_go_down() -> None:
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_room_is_in_the_layers() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = {name.strip() for layer in contracts[0]["layers"] for name in layer.split("|")}
    rooms = {f"fedloom.{path.parent.name}" for path in SOURCE.glob("*/__init__.py")}
    assert rooms - layers == set()


@pytest.mark.parametrize("axis", AXES)
def test_every_choice_bears_its_files_name(axis: str) -> None:
    assert known(axis)
    assert all(callable(builder(axis, name)) for name in known(axis))


def test_extras_are_optional_and_the_command_starts_without_heavy_imports() -> None:
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("flwr", "ray", "grpc", "grpc_health", "prometheus_client"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import fedloom, fedloom.cli, fedloom.engines, fedloom.report.page, fedloom.split.boundary, fedloom.split.desk
heavy = {"transformers", "peft", "flwr"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
