"""Everything of the protocol that is hashed or signed as EIP-712 typed data.

PROTOCOL sections 4, 6 and 7 specify the types. Addresses are 0x-prefixed strings (checksummed or
not), hashes are 32 bytes, amounts are integers in base units, times are Unix seconds.
"""

from dataclasses import dataclass

from eth_abi import encode
from eth_utils import keccak, to_canonical_address

DOMAIN_NAME = "Guerdon Distributor"
DOMAIN_VERSION = "2"

_DOMAIN_TYPE = keccak(
    text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
BATCH_TYPE = (
    "Batch(uint32 bucket,uint64 sequence,uint256 oldRoot,uint256 newRoot,uint256 "
    "itemsRoot,bytes32 interactionsRoot,"
    "bytes32 ledgerHead,bytes32 deltasHash,uint64 attestorEpoch,uint64 validUntil)"
)
REPORT_TYPE = (
    "Report(bytes32 program,bytes32 partner,bytes32 eventId,address account,uint96 amount,uint64 "
    "occurredAt)"
)
INTERACTION_TYPE = (
    "Interaction(bytes32 program,bytes32 partner,bytes32 eventId,address account,uint96 "
    "amount,uint64 occurredAt,"
    "bytes32 evidence)"
)
CLAIM_TO_TYPE = (
    "ClaimTo(uint32 bucket,uint16 slot,uint128 cumulative,address recipient,uint256 deadline)"
)
_BATCH_HASH, _REPORT_HASH, _INTERACTION_HASH, _CLAIM_TO_HASH = (
    keccak(text=text) for text in (BATCH_TYPE, REPORT_TYPE, INTERACTION_TYPE, CLAIM_TO_TYPE)
)


@dataclass(frozen=True)
class Domain:
    """The EIP-712 domain of one Distributor."""

    chain_id: int
    distributor: str
    version: str = DOMAIN_VERSION
    """The Distributor's edition."""

    @property
    def separator(self) -> bytes:
        fields = (
            _DOMAIN_TYPE,
            keccak(text=DOMAIN_NAME),
            keccak(text=self.version),
            self.chain_id,
            self.distributor,
        )
        return keccak(encode(["bytes32", "bytes32", "bytes32", "uint256", "address"], fields))

    def digest(self, struct_hash: bytes) -> bytes:
        """What is signed: keccak256(0x1901 || domain separator || struct hash)."""
        return keccak(b"\x19\x01" + self.separator + struct_hash)

    @property
    def program(self) -> bytes:
        """The program's id inside interactions: the Distributor's address, left-padded to 32
        bytes."""
        return to_canonical_address(self.distributor).rjust(32, b"\0")


@dataclass(frozen=True)
class BatchEnvelope:
    """The fields of a batch that attestors sign."""

    bucket: int
    sequence: int
    old_root: int
    new_root: int
    items_root: int
    interactions_root: bytes
    ledger_head: bytes
    deltas_hash: bytes
    attestor_epoch: int
    valid_until: int

    @property
    def struct_hash(self) -> bytes:
        types = [
            "bytes32",
            "uint32",
            "uint64",
            "uint256",
            "uint256",
            "uint256",
            "bytes32",
            "bytes32",
            "bytes32",
            "uint64",
            "uint64",
        ]
        fields = (
            _BATCH_HASH,
            self.bucket,
            self.sequence,
            self.old_root,
            self.new_root,
            self.items_root,
            self.interactions_root,
            self.ledger_head,
            self.deltas_hash,
            self.attestor_epoch,
            self.valid_until,
        )
        return keccak(encode(types, fields))

    def digest(self, domain: Domain) -> bytes:
        """The 32 bytes that attestors sign; the challenge r is this as an integer mod p."""
        return domain.digest(self.struct_hash)


@dataclass(frozen=True)
class TypedInteraction:
    """One verified, rewarded act, as the EIP-712 type `Interaction`.

    `partner` and `event_id` are the hashes of PROTOCOL section 6, not the texts.
    """

    program: bytes
    partner: bytes
    event_id: bytes
    account: str
    amount: int
    occurred_at: int
    evidence: bytes

    @property
    def hash(self) -> bytes:
        """The EIP-712 hashStruct."""
        types = [
            "bytes32",
            "bytes32",
            "bytes32",
            "bytes32",
            "address",
            "uint96",
            "uint64",
            "bytes32",
        ]
        fields = (
            _INTERACTION_HASH,
            self.program,
            self.partner,
            self.event_id,
            self.account,
            self.amount,
            self.occurred_at,
            self.evidence,
        )
        return keccak(encode(types, fields))


def report_digest(
    domain: Domain, partner: bytes, event_id: bytes, account: str, amount: int, occurred_at: int
) -> bytes:
    """The digest of a `Report` that a partner with a wallet signs."""
    types = ["bytes32", "bytes32", "bytes32", "bytes32", "address", "uint96", "uint64"]
    fields = (_REPORT_HASH, domain.program, partner, event_id, account, amount, occurred_at)
    return domain.digest(keccak(encode(types, fields)))


def claim_to_digest(
    domain: Domain, bucket: int, slot: int, cumulative: int, recipient: str, deadline: int
) -> bytes:
    """The digest of the permission that an account signs for `claimTo`."""
    types = ["bytes32", "uint32", "uint16", "uint128", "address", "uint256"]
    return domain.digest(
        keccak(encode(types, (_CLAIM_TO_HASH, bucket, slot, cumulative, recipient, deadline)))
    )


def partner_hash(partner: str) -> bytes:
    """keccak256 of the partner's id."""
    return keccak(text=partner)


def event_hash(event_id: str) -> bytes:
    """keccak256 of the partner's event id in its one canonical form."""
    return keccak(text=event_id)


def evidence_hash(salt: bytes, raw: bytes) -> bytes:
    """keccak256(salt || raw evidence as received, signature included)."""
    return keccak(salt + raw)
