"""How a YAML file is laid out: its comments and styles beside its data, one canonical form, values written as text.

Pure, and never asked while rules are served: `vestibule fmt` and `vestibule test --update` are built on it.
"""

from .canon import canonical
from .tree import Entry, Node, comments_of, read_tree
from .writing import write_flow, write_text

__all__ = ["Entry", "Node", "canonical", "comments_of", "read_tree", "write_flow", "write_text"]
