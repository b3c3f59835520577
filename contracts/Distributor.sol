// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {DistributorControl} from "./DistributorControl.sol";
import {Attestation, Batch, Config, IDistributor, SkipReason} from "./interfaces/IDistributor.sol";
import {IPoseidon2, Payout} from "./interfaces/IPoseidon2.sol";
import {IVerifier} from "./interfaces/IVerifier.sol";
import {Attestations} from "./libraries/Attestations.sol";
import {Deltas} from "./libraries/Deltas.sol";

/// @title Distributor
/// @author Guerdon contributors
/// @custom:security-contact security@example.org is a placeholder. Deployers replace it with their own address.
/// @notice Pays the accounts of a reward program. `IDistributor` documents every function, event and error.
contract Distributor is DistributorControl, EIP712, ReentrancyGuardTransient {
    using Attestations for Attestations.Set;
    using SafeERC20 for IERC20;

    /// @dev Packing: `sequence` and `opened` share one word; the payments of two neighbouring slots share one word.
    /// @param sequence Sequence of the last batch, 0 before the first.
    /// @param opened Number of occupied slots. Slots 0 to opened - 1 are occupied.
    /// @param roots Every root, by the sequence of the batch that led to it. None is ever overwritten.
    /// @param claimed Amount paid, by slot. A tree of the maximum height 8 has 2^15 slots.
    struct Bucket {
        uint64 sequence;
        uint32 opened;
        mapping(uint64 sequence => uint256) roots;
        uint128[1 << 15] claimed;
    }

    /// @dev Both totals share one word. Invariant: claimed <= committed < 2^127.
    /// @param committed Amount that all accounts have ever earned.
    /// @param claimed Amount that all accounts have been paid.
    struct Totals {
        uint128 committed;
        uint128 claimed;
    }

    uint256 private constant P = Deltas.P;
    bytes32 private constant BATCH_TYPEHASH = keccak256(
        "Batch(uint32 bucket,uint64 sequence,uint256 oldRoot,uint256 newRoot,uint256 itemsRoot,"
        "bytes32 interactionsRoot,bytes32 ledgerHead,bytes32 deltasHash,uint64 attestorEpoch,uint64 validUntil)"
    );
    bytes32 private constant CLAIM_TO_TYPEHASH =
        keccak256("ClaimTo(uint32 bucket,uint16 slot,uint128 cumulative,address recipient,uint256 deadline)");

    /// @inheritdoc IDistributor
    IERC20 public immutable token;
    /// @inheritdoc IDistributor
    IVerifier public immutable verifier;
    /// @inheritdoc IDistributor
    IPoseidon2 public immutable hasher;
    /// @inheritdoc IDistributor
    uint8 public immutable levels;
    /// @inheritdoc IDistributor
    uint32 public immutable slots;
    /// @inheritdoc IDistributor
    uint32 public immutable families;
    /// @dev Root of the empty tree.
    uint256 private immutable _zeroRoot;

    mapping(uint32 bucket => Bucket) private _buckets;
    Totals private _totals;

    constructor(Config memory config)
        DistributorControl(config.owner, config.guardian, config.attestors, config.threshold)
        EIP712("Guerdon Distributor", "1")
    {
        if (address(config.token) == address(0)) revert ZeroAddress();
        if (config.levels == 0 || config.levels > 8 || config.families == 0) {
            revert InvalidShape(config.levels, config.families);
        }

        (token, verifier, hasher) = (config.token, config.verifier, config.hasher);
        (levels, families) = (config.levels, config.families);
        slots = uint32(1) << (2 * config.levels - 1);

        uint256 node = 0;
        for (uint256 i = 0; i < config.levels; ++i) {
            node = config.hasher.compress(node, node, node, node);
        }
        _zeroRoot = node;
    }

    /* POSTING */

    /// @inheritdoc IDistributor
    function postBatch(
        Batch calldata batch,
        bytes calldata deltas,
        uint256[8] calldata proof,
        Attestation[] calldata attestations
    ) external nonReentrant {
        Status memory status = _status;
        if (block.timestamp < status.postingPausedUntil) revert PostingPaused(status.postingPausedUntil);

        Bucket storage bucket = _buckets[batch.bucket];
        uint32 opened = bucket.opened;
        _requireNext(batch, bucket.sequence);

        uint256 oldRoot = batch.sequence == 1 ? _zeroRoot : bucket.roots[batch.sequence - 1];
        bytes32 digest = _batchDigest(batch, oldRoot, keccak256(deltas), status.attestorEpoch);
        _attestors.check(status.attestorEpoch, status.threshold, digest, attestations);

        // The challenge is derived from the digest, so the roots and `deltas` cannot be chosen after it.
        uint256 challenge = uint256(digest) % P;
        (uint256 openings, uint256 total, uint256 fingerprint) = Deltas.read(deltas, opened, slots, challenge);
        if (!verifier.verify(proof, [oldRoot, batch.newRoot, batch.itemsRoot, challenge, fingerprint])) {
            revert InvalidProof();
        }

        _commit(total);

        bucket.sequence = batch.sequence;
        bucket.opened = opened + uint32(openings);
        bucket.roots[batch.sequence] = batch.newRoot;

        emit BatchPosted(
            batch.bucket,
            batch.sequence,
            batch.newRoot,
            batch.itemsRoot,
            batch.interactionsRoot,
            batch.ledgerHead,
            total,
            deltas
        );
    }

    /// @dev Reverts unless the batch is the bucket's next, is not expired and holds field elements.
    function _requireNext(Batch calldata batch, uint64 lastSequence) private view {
        if (batch.sequence != lastSequence + 1) revert WrongSequence(batch.sequence, lastSequence + 1);
        if (block.timestamp > batch.validUntil) revert BatchExpired(batch.validUntil);
        if (batch.newRoot == 0) revert ZeroRoot();
        if (batch.newRoot >= P) revert NotAFieldElement(batch.newRoot);
        if (batch.itemsRoot >= P) revert NotAFieldElement(batch.itemsRoot);
    }

    /// @dev Returns the EIP-712 digest that attestors sign.
    function _batchDigest(Batch calldata batch, uint256 oldRoot, bytes32 deltasHash, uint64 epoch)
        private
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(
            keccak256(
                abi.encode(
                    BATCH_TYPEHASH,
                    batch.bucket,
                    batch.sequence,
                    oldRoot,
                    batch.newRoot,
                    batch.itemsRoot,
                    batch.interactionsRoot,
                    batch.ledgerHead,
                    deltasHash,
                    epoch,
                    batch.validUntil
                )
            )
        );
    }

    /// @dev Adds `total` to the committed amount. Reverts if the reserve does not cover the new amount.
    function _commit(uint256 total) private {
        Totals memory totals = _totals;
        uint256 newCommitted = totals.committed + total;

        uint256 reserve = token.balanceOf(address(this)) + totals.claimed;
        if (newCommitted > reserve) revert ReserveExceeded(newCommitted, reserve);
        if (newCommitted >= 1 << 127) revert CommittedTooLarge(newCommitted);

        _totals.committed = uint128(newCommitted);
    }

    /* CLAIMS */

    /// @inheritdoc IDistributor
    function claim(
        uint32 bucket,
        uint16 slot,
        uint64 sequence,
        address account,
        uint128 cumulative,
        uint256[] calldata siblings
    ) external nonReentrant {
        _claim(bucket, sequence, Payout(slot, account, cumulative), siblings, account);
    }

    /// @inheritdoc IDistributor
    function claimTo(
        uint32 bucket,
        uint16 slot,
        uint64 sequence,
        address account,
        uint128 cumulative,
        uint256[] calldata siblings,
        address recipient,
        uint256 deadline,
        bytes calldata permission
    ) external nonReentrant {
        if (recipient == address(0)) revert ZeroAddress();

        if (msg.sender != account) {
            if (block.timestamp > deadline) revert PermissionExpired(deadline);
            bytes32 digest = _hashTypedDataV4(
                keccak256(abi.encode(CLAIM_TO_TYPEHASH, bucket, slot, cumulative, recipient, deadline))
            );
            if (!SignatureChecker.isValidSignatureNowCalldata(account, digest, permission)) revert InvalidPermission();
        }

        _claim(bucket, sequence, Payout(slot, account, cumulative), siblings, recipient);
    }

    /// @dev Checks the payout against a stored root and pays what the slot has not been paid to `recipient`.
    function _claim(
        uint32 bucket,
        uint64 sequence,
        Payout memory payout,
        uint256[] calldata siblings,
        address recipient
    ) private {
        uint256 postedRoot = _claimableRoot(bucket, sequence);
        if (payout.account == address(0)) revert ZeroAddress();
        if (hasher.rootOfOne(payout, siblings, levels) != postedRoot) revert NotInBucket(bucket, sequence);

        uint128 paid = _buckets[bucket].claimed[payout.slot];
        if (payout.cumulative <= paid) revert NothingToClaim();
        uint128 amount = payout.cumulative - paid;

        _buckets[bucket].claimed[payout.slot] = payout.cumulative;
        _totals.claimed += amount;

        emit Claimed(bucket, payout.slot, payout.account, recipient, amount);

        token.safeTransfer(recipient, amount);
    }

    /// @inheritdoc IDistributor
    function claimMany(uint32 bucket, uint64 sequence, Payout[] calldata payouts, uint256[] calldata siblings)
        external
        nonReentrant
    {
        uint256 postedRoot = _claimableRoot(bucket, sequence);
        if (hasher.root(payouts, siblings, levels) != postedRoot) revert NotInBucket(bucket, sequence);

        uint256 paidNow = 0;
        for (uint256 i = 0; i < payouts.length; ++i) {
            paidNow += _payOrSkip(bucket, payouts[i]);
        }
        _totals.claimed += uint128(paidNow);
    }

    /// @dev Pays one payout to its account, or emits `PayoutSkipped`. Returns the amount paid. The payment is recorded
    /// before the transfer and taken back if the transfer fails. `nonReentrant` keeps out calls between the two.
    function _payOrSkip(uint32 bucket, Payout calldata payout) private returns (uint256 amount) {
        if (payout.account == address(0)) revert ZeroAddress();

        uint128 paid = _buckets[bucket].claimed[payout.slot];
        if (payout.cumulative <= paid) {
            emit PayoutSkipped(bucket, payout.slot, payout.account, SkipReason.AlreadyPaid);
            return 0;
        }

        amount = payout.cumulative - paid;
        _buckets[bucket].claimed[payout.slot] = payout.cumulative;
        if (token.trySafeTransfer(payout.account, amount)) {
            emit Claimed(bucket, payout.slot, payout.account, payout.account, amount);
        } else {
            _buckets[bucket].claimed[payout.slot] = paid;
            emit PayoutSkipped(bucket, payout.slot, payout.account, SkipReason.TransferFailed);
            return 0;
        }
    }

    /// @dev Returns the root to claim against. Reverts while claims are paused or if no batch led to it. Every root that
    /// was posted stays good: amounts are cumulative, so an older root pays less or nothing, never too much.
    function _claimableRoot(uint32 bucket, uint64 sequence) private view returns (uint256) {
        uint64 until = _status.claimsPausedUntil;
        if (block.timestamp < until) revert ClaimsPaused(until);
        if (sequence == 0) revert UnknownRoot(bucket, sequence);
        return root(bucket, sequence);
    }

    /* WITHDRAWAL */

    /// @inheritdoc IDistributor
    function executeWithdrawal() external onlyOwner nonReentrant {
        (address recipient, uint256 amount) = _takeWithdrawal();

        // If a rebasing token leaves less than is committed, nothing is uncommitted. A plain subtraction would panic.
        uint256 uncommitted = Math.saturatingSub(token.balanceOf(address(this)) + _totals.claimed, _totals.committed);
        if (amount > uncommitted) revert ExceedsUncommitted(amount, uncommitted);

        emit Withdrawn(recipient, amount);

        token.safeTransfer(recipient, amount);
    }

    /* VIEWS */

    /// @inheritdoc IDistributor
    function buckets(uint32 bucket) external view returns (uint64 sequence, uint32 opened) {
        return (_buckets[bucket].sequence, _buckets[bucket].opened);
    }

    /// @inheritdoc IDistributor
    function root(uint32 bucket, uint64 sequence) public view returns (uint256 postedRoot) {
        if (sequence == 0) return _zeroRoot;
        postedRoot = _buckets[bucket].roots[sequence];
        // No batch has the root 0: `_requireNext` refuses it.
        if (postedRoot == 0) revert UnknownRoot(bucket, sequence);
    }

    /// @inheritdoc IDistributor
    function claimed(uint32 bucket, uint16 slot) external view returns (uint128) {
        if (slot >= slots) revert SlotOutOfRange(slot);
        return _buckets[bucket].claimed[slot];
    }

    /// @inheritdoc IDistributor
    function committed() external view returns (uint128) {
        return _totals.committed;
    }

    /// @inheritdoc IDistributor
    function claimedTotal() external view returns (uint128) {
        return _totals.claimed;
    }
}
