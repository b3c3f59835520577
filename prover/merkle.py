"""The Merkle tree of `interactionsRoot`: OpenZeppelin's StandardMerkleTree.

Its leaves are (itemIndex, interactionHash, account, itemAmount). Source: the format `standard-v1`
of @openzeppelin/merkle-tree. Leaves are hashed twice, sorted by hash and laid out as a complete
binary tree. Inner nodes hash their children in ascending order. OpenZeppelin's MerkleProof library
verifies the proofs on chain.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eth_abi import encode
from eth_utils import keccak

LEAF_TYPES = ("uint32", "bytes32", "address", "uint96")


@dataclass(frozen=True)
class Leaf:
    """One item of a batch.

    It holds the item's index, the hash of its interaction, its account (checksummed or not) and its
    amount in base units.
    """

    item_index: int
    interaction_hash: bytes
    account: str
    item_amount: int

    @property
    def hash(self) -> bytes:
        values = (self.item_index, self.interaction_hash, self.account, self.item_amount)
        return keccak(keccak(encode(LEAF_TYPES, values)))


def _parent(a: bytes, b: bytes) -> bytes:
    return keccak(min(a, b) + max(a, b))


class InteractionsTree:
    """The tree over the leaves of one batch.

    Raises ValueError if there are no leaves, or two leaves with one item index.
    """

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        if not leaves:
            raise ValueError("leaves: expected at least one")
        hashes = [leaf.hash for leaf in leaves]
        order = sorted(range(len(hashes)), key=hashes.__getitem__)
        size = 2 * len(hashes) - 1
        self._nodes = [b""] * size
        self._position: dict[int, int] = {}
        for rank, index in enumerate(order):
            if leaves[index].item_index in self._position:
                raise ValueError(f"leaves: item index {leaves[index].item_index} twice")
            self._position[leaves[index].item_index] = size - 1 - rank
            self._nodes[size - 1 - rank] = hashes[index]
        for i in range(size - 1 - len(hashes), -1, -1):
            self._nodes[i] = _parent(self._nodes[2 * i + 1], self._nodes[2 * i + 2])

    @property
    def root(self) -> bytes:
        return self._nodes[0]

    def proof(self, item_index: int) -> list[bytes]:
        """Return the siblings from the leaf of `item_index` up to the root.

        Raises KeyError for an index that is not in the tree.
        """
        i = self._position[item_index]
        siblings = []
        while i > 0:
            siblings.append(self._nodes[i + 1 if i % 2 else i - 1])
            i = (i - 1) // 2
        return siblings


def verify(root: bytes, leaf: Leaf, proof: Sequence[bytes]) -> bool:
    """Whether `proof` leads from `leaf` to `root`."""
    node = leaf.hash
    for sibling in proof:
        node = _parent(node, sibling)
    return node == root
