"""The main job on one machine: from a reward list to proven roots, paid claims and an audit."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select

from backend.account.models import Account
from backend.attestation.models import Attestation
from backend.audit.auditor import audit
from backend.audit.report import AuditReport
from backend.batch.models import Batch, BatchState
from backend.chain import calldata, erc20
from backend.chain.deploy import Deployer
from backend.chain.local import give_ether
from backend.client.partner_client import PartnerClient, Reported, chunks
from backend.client.reward_list import RewardList, split_amount
from backend.devstack.local import ETHER, Local
from backend.errors import CommandError
from backend.interaction.models import Interaction, InteractionState
from backend.invariant import check_with_chain
from backend.kit.token import Token
from backend.ledger.service import reserve
from backend.partner.schemes.standard_webhooks import generate_secret
from backend.payout import service as payout
from backend.payout.push import push_claims
from backend.program.models import Program
from backend.signer import keystore
from backend.signer.keystore import KeystoreSigner
from prover.eip712 import Domain, claim_to_digest

ROUNDS = 3
PARTS_PER_ROUND = 2
WRONGLY_SIGNED = 5
OWN_ACCOUNTS = 4
OWN_TOKENS = 1_000
STALL_SECONDS = 300
CLAIM_MANY_SIZE = 16

Step = Callable[[str, int, int], None]
"""(what, done, total)"""


class DemoError(CommandError):
    """The demonstration did not show what it must. The message says what is missing."""


@dataclass
class ClaimRow:
    """One paid claim. `gas_used` is the transaction's; `accounts_in_tx` says how many share it."""

    account: str
    bucket: int
    slot: int
    amount: int
    tx_hash: str
    gas_used: int
    how: str
    accounts_in_tx: int = 1


@dataclass
class Demo:
    """One run. `step` shows progress."""

    local: Local
    rewards: RewardList
    step: Step
    seed: int = 1
    interactions: int = 0
    rejected: int = 0
    duplicates: int = 0
    claims: list[ClaimRow] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # only to vary how amounts are split
        folder = self.local.folder / "keys"
        self.own = [
            keystore.create(folder / f"wallet-{i}.json", "demo", scrypt_n=keystore.SCRYPT_N_LOCAL)
            for i in range(OWN_ACCOUNTS)
        ]
        self.amounts = dict(self.rewards.amounts)
        one = 10 ** (self._token().decimals or 0)
        self.amounts |= {
            wallet.address: (i + 1) * OWN_TOKENS * one for i, wallet in enumerate(self.own)
        }

    def _token(self) -> Token:
        return erc20.describe(self.local.context.node, self.local.deployment.token)

    @property
    def total(self) -> int:
        return sum(self.amounts.values())

    def run(self) -> AuditReport:
        """Everything, in order. Raises DemoError."""
        self.local.fund(self.total)
        self._wait_for_funding()
        self._report_and_settle()
        self._claim_from_wallets()
        self._push_claims()
        self._wait_for_claims()
        return self._audit()

    # Reporting

    def _rounds(self) -> list[list[Reported]]:
        now = int(time.time())
        rounds: list[list[Reported]] = [[] for _ in range(ROUNDS)]
        for address, amount in self.amounts.items():
            for i, share in enumerate(split_amount(amount, ROUNDS * PARTS_PER_ROUND)):
                event = f"{address.lower()}-{i}"
                rounds[i % ROUNDS].append(
                    Reported(event, address, share, now - self._random.randrange(3600))
                )
        return [interactions for interactions in rounds if interactions]

    def _report_and_settle(self) -> None:
        rounds = self._rounds()
        total = sum(map(len, rounds))
        local = self.local
        if local.partner is None or local.partner_secret is None:
            raise DemoError("the stack has no partner")
        client = PartnerClient(local.api_url, local.program, local.partner, local.partner_secret)
        for interactions in rounds:
            for part in chunks(interactions, 500):
                outcomes = client.report(part)
                if outcomes["accepted"] != len(part):
                    raise DemoError(
                        f"of {len(part)} interactions, the API answered {dict(outcomes)}"
                    )
                self.interactions += len(part)
                self.step("Reporting interactions", self.interactions, total)
            self._report_without_effect(client, interactions)
            local.stack.check()
            self._settle(total)
        client.close()

    def _report_without_effect(self, client: PartnerClient, interactions: list[Reported]) -> None:
        """Report known interactions again, and new ones with a wrong signature.

        Neither may change a balance.
        """
        before = self._owed()
        again = interactions[: max(1, len(interactions) // 4)]
        outcomes = client.report(again)
        forged = [
            Reported(f"forged-{item.event_id}", item.account, item.amount, item.occurred_at)
            for item in again[:WRONGLY_SIGNED]
        ]
        response = client.send(forged, secret=generate_secret())
        if (
            outcomes["duplicate"] != len(again)
            or response.status_code != 401
            or self._owed() != before
        ):
            raise DemoError(
                f"a repeated or forged report had an effect: {dict(outcomes)}, "
                f"{response.status_code}"
            )
        self.duplicates += len(again)
        self.rejected += len(forged)

    def _owed(self) -> list[int]:
        """What each account has earned by the ledger."""
        with self.local.context.database.transaction() as session:
            program = session.get_one(Program, self.local.program_id)
            return [payout.standing(session, program, address).earned for address in self.amounts]

    # Waiting for the pipeline

    def _wait(self, what: str, measure: Callable[[], tuple[int, int]]) -> None:
        """Wait until `measure()` returns done = total. Raises DemoError without progress."""
        last, since = -1, time.monotonic()
        while True:
            done, total = measure()
            self.step(what, done, total)
            if done >= total:
                return
            if done != last:
                last, since = done, time.monotonic()
            if time.monotonic() - since > STALL_SECONDS:
                raise DemoError(
                    f"{what}: no progress for {STALL_SECONDS} seconds at {done} of {total}: "
                    f"{self._notes()}"
                )
            self.local.stack.check()
            time.sleep(0.2)

    def _notes(self) -> str:
        with self.local.context.database.transaction() as session:
            program = session.get_one(Program, self.local.program_id)
            rows = session.execute(
                select(Batch.bucket, Batch.sequence, Batch.state, Batch.note).where(
                    Batch.note.is_not(None)
                )
            )
            return (
                f"{program.halted or ''} {[tuple(row) for row in rows]}; logs are in "
                f"{self.local.folder / 'logs'}"
            )

    def _wait_for_funding(self) -> None:
        def funded() -> tuple[int, int]:
            with self.local.context.database.transaction() as session:
                return int(reserve(session, self.local.program_id) >= self.total), 1

        self._wait("Funding the program", funded)

    def _settle(self, expected: int) -> None:
        def settled() -> tuple[int, int]:
            with self.local.context.database.transaction() as session:
                done = session.scalars(
                    select(func.count())
                    .select_from(Interaction)
                    .join(Batch, Batch.id == Interaction.batch_id)
                    .where(Batch.state == BatchState.FINAL)
                ).one()
                target = session.scalars(
                    select(func.count()).where(Interaction.state == InteractionState.ACCEPTED)
                ).one()
                self.step("Attesting, proving, posting", done, expected)
                return int(done == target), 1

        self._wait("", settled)

    def _wait_for_claims(self) -> None:
        def booked() -> tuple[int, int]:
            with self.local.context.database.transaction() as session:
                return int(session.scalar(select(func.sum(Account.claimed))) == self.total), 1

        self._wait("Booking the claims", booked)

    # Claiming

    def _claim_from_wallets(self) -> None:
        """The demo's own accounts claim from their wallets.

        Every second one signs a permission instead, which pays another recipient.
        """
        for i, wallet in enumerate(self.own):
            self.step("Claiming from wallets", i, len(self.own))
            give_ether(self.local.context.node, wallet.address, ETHER)
            with self.local.context.database.transaction() as session:
                call = payout.claim_call(
                    session, session.get_one(Program, self.local.program_id), wallet.address
                )
            data = call.calldata if i % 2 == 0 else self._claim_to(wallet, call)
            context = self.local.context
            deployer = (
                Deployer(context.node, wallet)
                if i % 2 == 0
                else context.deployer("claim_to", "latest")
            )
            receipt = deployer.send("claim", self.local.deployment.distributor, data)
            how = "claim" if i % 2 == 0 else "claimTo"
            tx_hash = "0x" + receipt.tx_hash.hex()
            row = ClaimRow(
                wallet.address,
                call.bucket,
                call.slot,
                call.claimable,
                tx_hash,
                receipt.gas_used,
                how,
            )
            self.claims.append(row)
        self.step("Claiming from wallets", len(self.own), len(self.own))

    def _claim_to(self, wallet: KeystoreSigner, call: payout.ClaimCall) -> bytes:
        """Calldata of a claim to another recipient. The wallet signs; another key pays the gas."""
        recipient = self.own[0].address
        domain = Domain(self.local.context.chain_id, self.local.deployment.distributor)
        deadline = int(time.time()) + 3600
        permission = wallet.sign_digest(
            claim_to_digest(domain, call.bucket, call.slot, call.cumulative, recipient, deadline)
        )
        return calldata.claim_to(
            call.bucket,
            call.slot,
            call.sequence,
            call.account,
            call.cumulative,
            call.siblings,
            recipient,
            deadline,
            permission,
        )

    def _push_claims(self) -> None:
        """One claim for each address of the list: half of them singly, the others by claimMany."""
        addresses = list(self.rewards.amounts)
        half = len(addresses) // 2
        done = 0

        def progress(count: int) -> None:
            nonlocal done
            done += count
            self.step("Pushing claims", done, len(addresses))

        with self.local.context.database.transaction() as session:
            program = session.get_one(Program, self.local.program_id)
        for part, together in ((addresses[:half], 1), (addresses[half:], CLAIM_MANY_SIZE)):
            for push in (
                push_claims(self.local.context, program, part, together=together, progress=progress)
                if part
                else []
            ):
                if push.tx_hash is None or len(push.accounts) < len(push.payments):
                    raise DemoError(f"a pushed claim did not pay: {push.payments}")
                how = "claim" if together == 1 else "claimMany"
                for account in push.accounts:
                    bucket, slot = self._home(account)
                    amount = self.amounts[account]
                    row = ClaimRow(
                        account,
                        bucket,
                        slot,
                        amount,
                        push.tx_hash,
                        push.gas_used,
                        how,
                        len(push.accounts),
                    )
                    self.claims.append(row)

    def _home(self, address: str) -> tuple[int, int]:
        with self.local.context.database.transaction() as session:
            query = select(Account).where(
                Account.program_id == self.local.program_id, Account.address == address
            )
            account = session.scalars(query).one()
            return account.bucket, account.slot

    # The end

    def _audit(self) -> AuditReport:
        def progress(what: str, done: int, total: int) -> None:
            self.step(f"Auditing: {what}", done, total)

        report = audit(
            self.local.context.node, self.local.deployment.distributor, progress=progress
        )
        if not report.ok:
            raise DemoError(f"the audit found {report.findings}")
        if broken := check_with_chain(self.local.context, self.local.program_id):
            raise DemoError(f"the ledger disagrees with itself or the chain: {broken}")
        if report.totals["committed"] != self.total or report.totals["claimed"] != self.total:
            raise DemoError(f"the chain has {report.totals}, the list adds up to {self.total}")
        return report

    def batches(self) -> list[Batch]:
        """All batches, oldest first."""
        with self.local.context.database.transaction() as session:
            return list(session.scalars(select(Batch).order_by(Batch.id)))

    def signatures(self) -> int:
        """How many attestations were collected."""
        with self.local.context.database.transaction() as session:
            return session.scalars(select(func.count()).select_from(Attestation)).one()

    def report(self, audited: AuditReport) -> dict[str, Any]:
        """All figures as JSON. Amounts are decimal texts."""
        local, totals = self.local, audited.totals
        token = self._token()
        return {
            "rpc_url": local.rpc_url,
            "api_url": local.api_url,
            "chain_id": local.context.chain_id,
            "program": local.program,
            "token": token.address,
            "token_symbol": token.symbol,
            "token_decimals": token.decimals,
            "distributor": local.deployment.distributor,
            "verifier": local.deployment.verifier,
            "instance": local.instance,
            "accounts": len(self.amounts),
            "interactions": self.interactions,
            "duplicates": self.duplicates,
            "rejected": self.rejected,
            "batches": [
                {
                    "bucket": batch.bucket,
                    "sequence": batch.sequence,
                    "tx_hash": batch.tx_hash,
                    "gas_used": batch.gas_used,
                    "batches_in_tx": batch.batches_in_tx,
                    "items": batch.items,
                    "accounts_touched": batch.accounts_touched,
                    "prove_seconds": (batch.prove_ms or 0) / 1000,
                }
                for batch in self.batches()
            ],
            "claims": [
                {
                    "account": row.account,
                    "bucket": row.bucket,
                    "slot": row.slot,
                    "amount": str(row.amount),
                    "tx_hash": row.tx_hash,
                    "gas_used": row.gas_used,
                    "how": row.how,
                    "accounts_in_tx": row.accounts_in_tx,
                }
                for row in self.claims
            ],
            "totals": {name: str(totals[name]) for name in ("committed", "claimed", "reserve")},
            "audit": {
                "ok": audited.ok,
                "checked": dict(audited.checks),
                "findings": [str(finding) for finding in audited.findings],
            },
        }
