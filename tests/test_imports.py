"""The rule of imports: every arrow points down, no stage imports another, and a look loads nothing heavy."""

from __future__ import annotations

import ast
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import networkx as nx
import pytest

FLOORS = (
    {"interrupts", "shown"},
    {"errors", "exits", "imports", "modules", "progress", "seeds", "stages"},
    {"config", "tasks"},
    {"artifacts"},
    {"data", "models"},
    {"cluster", "data_maps"},
    {"training"},
    {"meta"},
    {"card", "export"},
    {"serving"},
    {"affinities", "grouping", "profiling", "report", "retraining", "tuning"},
    {"checks", "in_memory", "runs", "settling"},
    {"planning"},
    {"pipeline"},
    {"estimator", "findings"},
    {"doctor", "guide"},
    {"options", "tables"},
    {"main_task"},
    {"cli", "stg_ray"},
    {"__main__"},
)
"""The rooms of the package, the lowest first; rooms of one floor do not import each other."""

MAY_SHARE_A_FLOOR = {
    ("config", "errors"),
    ("progress", "errors"),
    ("imports", "errors"),
    ("imports", "modules"),
    ("exits", "errors"),
    ("seeds", "errors"),
}
SOURCE = Path(__file__).parents[1] / "stg_ray"


def rooms() -> dict[str, set[str]]:
    """Each room's imports of other rooms, wherever they stand in its files; `stg_ray` is the package's own face."""
    found: dict[str, set[str]] = {}
    for file in SOURCE.rglob("*.py"):
        room = room_of(file)
        own = found.setdefault(room, set())
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "stg_ray":
                steps = node.module.split(".")
                own |= {steps[1]} if len(steps) > 1 else {alias.name for alias in node.names}
            elif isinstance(node, ast.Import):
                own |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("stg_ray.")}
        own.discard(room)
    return {room: {other for other in own if other in found} for room, own in found.items()}


def room_of(file: Path) -> str:
    first = file.relative_to(SOURCE).parts[0].removesuffix(".py")
    return "stg_ray" if first == "__init__" else first


def test_every_room_has_a_floor() -> None:
    assert set().union(*FLOORS) == set(rooms())


def test_the_guide_has_every_room_and_its_table_points_down() -> None:
    guide = (SOURCE / "guides" / "contributing.md").read_text()
    rows = [line for line in guide.splitlines() if line.startswith("| ")]
    row_of = {room: number for number, row in enumerate(rows) for room in re.findall(r"`(\w+)(?:\.py|/)`", row)}
    imports = rooms()
    assert set(row_of) == set(imports) - {"stg_ray", "__main__"}
    for room, row in row_of.items():
        assert all(row <= row_of[other] for other in imports[room]), room


def test_imports_point_down() -> None:
    floor = {room: number for number, own in enumerate(FLOORS) for room in own}
    up = [
        (room, other)
        for room, others in rooms().items()
        for other in others
        if floor[other] >= floor[room] and (room, other) not in MAY_SHARE_A_FLOOR
    ]
    assert not up, "imports of the same floor or of a higher one"


def test_there_is_no_circle_of_modules() -> None:
    graph = nx.DiGraph()
    modules = {module_of(file): file for file in SOURCE.rglob("*.py")}
    for name, file in modules.items():
        for node in ast.parse(file.read_text()).body:  # those of functions and for type checkers come later
            if isinstance(node, ast.ImportFrom) and node.module:
                inside = [f"{node.module}.{alias.name}" for alias in node.names]
                targets = [module for module in inside if module in modules] or [node.module]
                graph.add_edges_from((name, target) for target in targets if target in modules)
    assert not list(nx.simple_cycles(graph))


def module_of(file: Path) -> str:
    return ".".join(["stg_ray", *file.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__")


HEAVY = ("torch", "ray", "sklearn", "scipy", "pandas", "pyarrow", "plotly", "networkx")


@pytest.mark.parametrize(
    "work", ["import stg_ray", "stg_ray.cli.main(['--help'])", "stg_ray.cli.main(['presets'])"], ids=str.split
)
def test_a_look_loads_nothing_heavy(work: str) -> None:
    program = f"""
import atexit, os, sys
import stg_ray
def say(code=0):
    print("loaded:", [name for name in {HEAVY} if name in sys.modules])
    sys.stdout.flush()
os._exit = say
{"import stg_ray.cli" if "cli" in work else ""}
sys.argv[1:] = {work.partition("(")[2].rstrip(")") or "[]"}
{"stg_ray.cli.main()" if "cli" in work else "say()"}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["loaded: []"], done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [(["-c", "import stg_ray"], 0.6), (["-m", "stg_ray", "--help"], 1.0)],
    ids=["import", "help"],
)
def test_a_look_is_quick(arguments: list[str], seconds: float) -> None:
    """CPU time, the best of three: a busy machine slows the clock on the wall more."""
    taken = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], env=os.environ, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(taken) < seconds, taken
