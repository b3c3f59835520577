"""Every table, in one place for the migrations."""

from backend.account.models import Account, Claim
from backend.attestation.models import Attestation, AttestorFault
from backend.batch.models import Batch, BatchAccount
from backend.chain.models import OutgoingTransaction, SenderAccount, TransactionAttempt
from backend.interaction.models import DeliverySalt, Interaction, StoredDelivery
from backend.invariant.models import InvariantCheckpoint
from backend.ledger.models import (
    LedgerAccount,
    LedgerBlock,
    LedgerBlockTransaction,
    LedgerEntry,
    LedgerTransaction,
    LedgerUnsealed,
)
from backend.partner.models import Partner, PartnerSecret
from backend.payout.models import Payout, PayoutAttempt
from backend.program.models import Program
from backend.settlement.models import BatchPost

TABLES = (
    Account,
    Attestation,
    AttestorFault,
    Batch,
    BatchAccount,
    BatchPost,
    Claim,
    StoredDelivery,
    DeliverySalt,
    Interaction,
    InvariantCheckpoint,
    LedgerAccount,
    LedgerBlock,
    LedgerBlockTransaction,
    LedgerEntry,
    LedgerTransaction,
    LedgerUnsealed,
    OutgoingTransaction,
    Partner,
    PartnerSecret,
    Payout,
    PayoutAttempt,
    Program,
    SenderAccount,
    TransactionAttempt,
)
