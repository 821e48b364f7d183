"""YAML without surprises: no key twice, no aliases that grow beyond bounds, no value that contains itself."""

from __future__ import annotations

from typing import Any

import yaml

MAX_NODES = 100_000
"""Values of a file with its aliases written out. The largest configuration, every task of thousands by name, has fewer;
nine lines of aliases that name each other make a billion (a "billion laughs" file)."""

MAX_DEPTH = 50
"""Nested mappings and lists."""


def read_yaml(text: str | bytes) -> Any:
    """Read a YAML document of plain values: mappings, lists, text, numbers, dates.

    Raises:
        yaml.YAMLError: it is not valid YAML, has a key twice, is nested too deeply, or grows too large by its aliases.

    Example:
        >>> read_yaml("profile: {epochs: 3, lr: 0.01}")
        {'profile': {'epochs': 3, 'lr': 0.01}}
        >>> read_yaml("seed: 1\\nseed: 2")
        Traceback (most recent call last):
        yaml.constructor.ConstructorError: found the key 'seed' twice
          in "<unicode string>", line 2, column 1:
            seed: 2
            ^
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check(node, {}, ())
        return loader.construct_document(node)
    except RecursionError as error:
        raise yaml.YAMLError(f"values are nested more than {MAX_DEPTH} deep") from error
    except (ValueError, OverflowError) as error:  # of Python's own: a number of thousands of digits, the 99th of May
        raise yaml.YAMLError(f"a value cannot be read: {error}") from error
    finally:
        loader.dispose()


def _check(node: yaml.Node, sizes: dict[int, int], above: tuple[int, ...]) -> int:
    """Count the values of a node with its aliases written out; an aliased node is counted once and remembered."""
    if id(node) in above:
        raise yaml.constructor.ConstructorError(None, None, "found a value that contains itself", node.start_mark)
    if len(above) > MAX_DEPTH:
        raise yaml.constructor.ConstructorError(
            None, None, f"values are nested more than {MAX_DEPTH} deep", node.start_mark
        )
    if id(node) not in sizes:
        inside = (*above, id(node))
        children: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
            children = [child for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        sizes[id(node)] = 1 + sum(_check(child, sizes, inside) for child in children)
    if sizes[id(node)] > MAX_NODES:
        raise yaml.constructor.ConstructorError(
            None, None, f"found more than {MAX_NODES:,} values, with aliases written out", node.start_mark
        )
    return sizes[id(node)]


def _check_keys(node: yaml.MappingNode) -> None:
    """Refuse a key that stands twice: the first value would be lost in silence."""
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            if key.value in seen:
                problem = f"found the key {key.value!r} twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
