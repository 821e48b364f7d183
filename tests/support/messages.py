"""The messages of errors in the sources, and whether they say what to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "stg_ray"
RAISED = {"InputError", "NotHere", "StgRayError", "PartlyFailed", "ValueError"}
"""What a user sees as one line; a ValueError is raised by validators of the configuration."""

GAP = "…"
VERBS = (
    "add|align|ask|call|change|check|choose|convert|copy|correct|divide|fetch|fill|flatten|for example|get|give|group|"
    "have|install|keep|leave|load|look|loosen|lower|make|mend|move|multiply|name|normalise|profile|put|raise|remove|rename|run|save|"
    "say|scale|see|serve|set|start|take|train|try|turn|unset|use|wait|write"
)
ADVICE = re.compile(
    rf"expected|did you mean|known: |there are {GAP}|it has {GAP}|it was with|make at most {GAP}|"
    rf"allows {GAP}|pip install|\b(?:needs?|must)\b|"
    rf"(?:[:;,(?.]|\bor|\band|\bso|\bthen) (?:else )?(?:{VERBS})\b|\(--|--\w+|stg-ray \w+",
    re.IGNORECASE,
)


def messages() -> Iterator[tuple[str, str]]:
    """Yield the file and the text of every message, with `GAP` for what is filled in."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                name = getattr(node.exc.func, "id", "")
                if name in RAISED:
                    yield str(file.relative_to(PACKAGE)), _text(node.exc.args[0])


def says_what_to_do(message: str) -> bool:
    return ADVICE.search(message) is not None


def is_passed_on(message: str) -> bool:
    """Whether its words come from elsewhere, where they are a message of their own."""
    return len(re.findall(r"[a-z]{2,}", message.replace(GAP, ""))) < 2


def _text(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str(value)):
            return value
        case ast.JoinedStr(values=values):
            return "".join(_text(value) for value in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left) + _text(right)
        case ast.IfExp(body=body, orelse=other):
            return max(_text(body), _text(other), key=len)
    return GAP


if __name__ == "__main__":
    for file, message in messages():
        if not is_passed_on(message) and not says_what_to_do(message):
            print(f"{file}: {message}")
