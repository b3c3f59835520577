"""Finality: up to which block a chain is taken for settled, in the words that settings use."""

from backend.chain.node import Block, Node
from backend.errors import Invalid, Unavailable

BLOCK_TAGS = ("latest", "safe", "finalized")
FINALITY_EXPECTED = "latest, safe, finalized or a number of confirmations"
"""What a finality may be, for help texts and messages."""


def is_finality(text: str) -> bool:
    """Whether `text` is a block tag or a number of confirmations ("12")."""
    return text in BLOCK_TAGS or (text.isascii() and text.isdigit() and len(text) <= 6)


def require_finality(text: str) -> str:
    """`text`, if it is a finality. Raises Invalid."""
    if not is_finality(text):
        raise Invalid(f"finality: expected {FINALITY_EXPECTED}, got {text!r}", field="finality")
    return text


def require_served(node: Node, finality: str) -> Block:
    """The newest block that is settled by `finality`: asked before the word is stored.

    Raises:
        Invalid: `finality` is another word, or one for which the node has no block.
        Unavailable: the node does not answer at all.
    """
    require_finality(finality)
    node.block_number()
    try:
        return final_block(node, finality)
    except Unavailable as error:
        raise Invalid(
            f"finality: the node has no block {finality!r} ({error.message}): choose another word, "
            "or a number of confirmations",
            field="finality",
        ) from error


def final_block(node: Node, finality: str) -> Block:
    """The newest block that is settled by `finality`.

    With n confirmations it is the block n below the head, block 0 if the chain is shorter.

    Raises:
        Invalid: `finality` is another word.
        Unavailable: the node does not answer, or knows no such block (a chain without finality).
    """
    require_finality(finality)
    if finality in BLOCK_TAGS:
        return node.block(finality)
    return node.block(max(0, node.block_number() - int(finality)))
