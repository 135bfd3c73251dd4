"""YAML as plain values, bounded: an alias stands for all that it names, and may stand for it again and again."""

from __future__ import annotations

from typing import Any

import yaml

MAX_VALUES = 10_000
"""Values in a text whose aliases are written out; a recipe has some fifty."""


def read_yaml(text: str) -> Any:
    """The value of a YAML text, of plain types only.

    Raises:
        ValueError: it is not YAML, or too deep, too large or endless when its aliases are written out.
    """
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            if _count(node, {}) > MAX_VALUES:
                raise ValueError(f"its aliases stand for more than {MAX_VALUES:,} values")
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except (yaml.YAMLError, OverflowError) as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Values that a node stands for, itself among them; each node is looked at once.

    Args:
        known: of the nodes that were looked at, by identity; 0 while one is looked at, which then holds itself.
    """
    found = known.get(id(node))
    if found is None:
        known[id(node)] = 0
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            inner = node.value
        elif isinstance(node, yaml.MappingNode):
            inner = [part for pair in node.value for part in pair]
        found = known[id(node)] = 1 + sum(_count(part, known) for part in inner)
    elif found == 0:
        raise ValueError("an alias stands for what it is in")
    return found
