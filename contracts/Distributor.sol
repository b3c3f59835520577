// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {DistributorControl} from "./DistributorControl.sol";
import {
    Attestation,
    Batch,
    BatchSkipReason,
    Config,
    IDistributor,
    Post,
    SkipReason
} from "./interfaces/IDistributor.sol";
import {IDistributorControl} from "./interfaces/IDistributorControl.sol";
import {IPoseidon2, Payout} from "./interfaces/IPoseidon2.sol";
import {IVerifier} from "./interfaces/IVerifier.sol";
import {Attestations} from "./libraries/Attestations.sol";
import {DailyLimits, Limit} from "./libraries/DailyLimits.sol";
import {Deltas} from "./libraries/Deltas.sol";
import {Signatures} from "./libraries/Signatures.sol";

/// @title Distributor
/// @author Guerdon contributors
/// @custom:security-contact security@example.org is a placeholder. Deployers replace it with their own address.
/// @notice Pays the accounts of a reward program. `IDistributor` documents every function, event and error.
contract Distributor is IDistributor, DistributorControl, EIP712, ReentrancyGuardTransient {
    using Attestations for Attestations.Set;
    using SafeERC20 for IERC20;

    /// @dev The payments of two neighbouring slots share one word.
    /// @param head The sequence of the last batch (0 before the first) in the lower 64 bits, and the number of occupied
    /// slots above them: slots 0 to opened - 1 are occupied. One number, so that a post writes the word once.
    /// @param roots Every root, by the sequence of the batch that led to it. None is ever overwritten.
    /// @param claimed Amount paid, by slot. A tree of the maximum height 8 has 2^15 slots.
    struct Bucket {
        uint256 head;
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

    /// @dev How much may be committed, while batches are posted.
    /// @param committed Amount that is committed, with the batches that were accepted so far.
    /// @param reserve Amount that `committed` may not exceed.
    /// @param used What is used of the daily limit, in base units times DAY.
    /// @param perDay The daily limit. Meaningless if `limited` is false.
    /// @param limited Whether there is a daily limit.
    struct Room {
        uint256 committed;
        uint256 reserve;
        uint256 used;
        uint96 perDay;
        bool limited;
    }

    uint256 private constant P = Deltas.P;
    /// @dev `committed` stays below this. The proof's integers rest on it: PROTOCOL, appendix A.
    uint256 private constant COMMITTED_END = 1 << 127;
    bytes32 private constant BATCH_TYPEHASH = keccak256(
        "Batch(uint32 bucket,uint64 sequence,uint256 oldRoot,uint256 newRoot,uint256 itemsRoot,"
        "bytes32 interactionsRoot,bytes32 ledgerHead,bytes32 deltasHash,uint64 attestorEpoch,uint64 validUntil)"
    );
    bytes32 private constant CLAIM_TO_TYPEHASH =
        keccak256("ClaimTo(uint32 bucket,uint16 slot,uint128 cumulative,address recipient,uint256 deadline)");

    /// @inheritdoc IDistributor
    uint256 public constant MAX_POSTS = 64;

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
    /// @dev Root of the empty tree.
    uint256 private immutable _zeroRoot;

    mapping(uint32 bucket => Bucket) private _buckets;
    Totals private _totals;

    constructor(Config memory config) DistributorControl(config) EIP712("Guerdon Distributor", "2") {
        if (address(config.token) == address(0)) revert ZeroAddress();
        if (config.levels == 0 || config.levels > 8) revert InvalidLevels(config.levels);

        (token, verifier, hasher) = (config.token, config.verifier, config.hasher);
        levels = config.levels;
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
        (uint64 epoch, uint16 required, bool limited) = _postingStatus();
        Bucket storage bucket = _buckets[batch.bucket];
        (uint64 lastSequence, uint32 opened) = _split(bucket.head);
        if (batch.sequence != lastSequence + 1) revert WrongSequence(batch.sequence, lastSequence + 1);
        if (block.timestamp > batch.validUntil) revert BatchExpired(batch.validUntil);
        _requireRoots(batch);

        uint256 oldRoot = _rootBefore(bucket, batch.sequence);
        bytes32 digest = _hashTypedDataV4(_structHash(batch, oldRoot, keccak256(deltas), epoch));
        _attestors.check(epoch, required, digest, attestations);

        // The challenge is derived from the digest, so the roots and `deltas` cannot be chosen after it.
        uint256 challenge = uint256(digest) % P;
        (uint256 openings, uint256 total, uint256 fingerprint) = Deltas.read(deltas, opened, slots, challenge);
        if (!verifier.verify(proof, [oldRoot, batch.newRoot, batch.itemsRoot, challenge, fingerprint])) {
            revert InvalidProof();
        }

        Room memory room = _room(limited);
        _take(room, total);
        _storeRoom(room);
        _store(bucket, batch, deltas, opened + uint32(openings), total);
    }

    /// @inheritdoc IDistributor
    function postBatches(Post[] calldata posts) external nonReentrant {
        if (posts.length == 0 || posts.length > MAX_POSTS) revert TooManyBatches(posts.length);
        (uint64 epoch, uint16 required, bool limited) = _postingStatus();
        Room memory room = _room(limited);

        uint256[13][] memory statements = new uint256[13][](posts.length);
        uint256 accepted = 0;
        for (uint256 i = 0; i < posts.length; ++i) {
            if (_postOrSkip(posts[i], epoch, required, room, statements[accepted])) ++accepted;
        }
        if (accepted == 0) revert NothingPosted();

        assembly ("memory-safe") {
            mstore(statements, accepted)
        }
        if (!verifier.verifyMany(statements)) revert InvalidProof();

        _storeRoom(room);
    }

    /// @dev Stores a batch, or emits `BatchSkipped`. The caller checks the proof of what is written to `statement`: the
    /// proof and its public signals.
    function _postOrSkip(
        Post calldata post,
        uint64 epoch,
        uint16 required,
        Room memory room,
        uint256[13] memory statement
    ) private returns (bool) {
        Batch calldata batch = post.batch;
        Bucket storage bucket = _buckets[batch.bucket];
        (uint64 lastSequence, uint32 opened) = _split(bucket.head);
        if (batch.sequence != lastSequence + 1) return _skip(batch, BatchSkipReason.WrongSequence);
        if (block.timestamp > batch.validUntil) return _skip(batch, BatchSkipReason.Expired);

        uint256 oldRoot = _rootBefore(bucket, batch.sequence);
        bytes32 structHash = _structHash(batch, oldRoot, keccak256(post.deltas), epoch);
        if (structHash != post.structHash) return _skip(batch, BatchSkipReason.WrongHash);
        bytes32 digest = _hashTypedDataV4(structHash);
        if (!_attestors.holds(epoch, required, digest, post.attestations)) {
            return _skip(batch, BatchSkipReason.TooFewAttestations);
        }

        _requireRoots(batch);
        uint256 challenge = uint256(digest) % P;
        (uint256 openings, uint256 total, uint256 fingerprint) = Deltas.read(post.deltas, opened, slots, challenge);
        if (_exceedsLimit(room, total)) return _skip(batch, BatchSkipReason.DailyLimit);
        if (_exceedsReserve(room, total)) return _skip(batch, BatchSkipReason.Reserve);
        _take(room, total);

        for (uint256 i = 0; i < 8; ++i) {
            statement[i] = post.proof[i];
        }
        (statement[8], statement[9], statement[10]) = (oldRoot, batch.newRoot, batch.itemsRoot);
        (statement[11], statement[12]) = (challenge, fingerprint);
        _store(bucket, batch, post.deltas, opened + uint32(openings), total);
        return true;
    }

    /// @dev Emits `BatchSkipped`. Returns false.
    function _skip(Batch calldata batch, BatchSkipReason reason) private returns (bool) {
        emit BatchSkipped(batch.bucket, batch.sequence, reason);
        return false;
    }

    /// @dev Returns what a post needs of the status. Reverts while posting is paused.
    function _postingStatus() private view returns (uint64 epoch, uint16 required, bool limited) {
        Status storage status = _status;
        uint64 until = status.postingPausedUntil;
        if (block.timestamp < until) revert PostingPaused(until);
        return (status.attestorEpoch, status.threshold, status.limited);
    }

    /// @dev Reverts unless the roots of a batch are field elements and the new root is not 0.
    function _requireRoots(Batch calldata batch) private pure {
        if (batch.newRoot == 0) revert ZeroRoot();
        if (batch.newRoot >= P) revert NotAFieldElement(batch.newRoot);
        if (batch.itemsRoot >= P) revert NotAFieldElement(batch.itemsRoot);
    }

    /// @dev Returns the parts of a bucket's head.
    function _split(uint256 head) private pure returns (uint64 sequence, uint32 opened) {
        return (uint64(head), uint32(head >> 64));
    }

    /// @dev Returns the root that the bucket's next batch starts from.
    function _rootBefore(Bucket storage bucket, uint64 sequence) private view returns (uint256) {
        return sequence == 1 ? _zeroRoot : bucket.roots[sequence - 1];
    }

    /// @dev Returns the EIP-712 hashStruct of a batch. Attestors sign the digest made from it.
    function _structHash(Batch calldata batch, uint256 oldRoot, bytes32 deltasHash, uint64 epoch)
        private
        pure
        returns (bytes32)
    {
        return keccak256(
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
        );
    }

    /// @dev Stores a bucket's next state and logs it.
    function _store(Bucket storage bucket, Batch calldata batch, bytes calldata deltas, uint32 opened, uint256 total)
        private
    {
        bucket.head = uint256(opened) << 64 | batch.sequence;
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

    /// @dev Returns how much may be committed now.
    function _room(bool limited) private view returns (Room memory room) {
        Totals memory totals = _totals;
        room.committed = totals.committed;
        room.reserve = token.balanceOf(address(this)) + totals.claimed;
        room.limited = limited;
        if (limited) {
            Limit limit = _limit;
            (room.used, room.perDay) = (limit.usedNow(), limit.perDay());
        }
    }

    /// @dev Returns whether `total` is more than is left of the daily limit.
    function _exceedsLimit(Room memory room, uint256 total) private pure returns (bool) {
        return room.limited && room.used + total * DailyLimits.DAY > uint256(room.perDay) * DailyLimits.DAY;
    }

    /// @dev Returns whether `total` is more than the contract can commit.
    function _exceedsReserve(Room memory room, uint256 total) private pure returns (bool) {
        return room.committed + total > room.reserve || room.committed + total >= COMMITTED_END;
    }

    /// @dev Adds `total` to what is committed and used. Reverts if it exceeds the daily limit or the reserve.
    function _take(Room memory room, uint256 total) private view {
        if (_exceedsLimit(room, total)) revert DailyLimitExceeded(total, _limit.left());
        room.committed += total;
        if (room.committed > room.reserve) revert ReserveExceeded(room.committed, room.reserve);
        if (room.committed >= COMMITTED_END) revert CommittedTooLarge(room.committed);
        room.used += total * DailyLimits.DAY;
    }

    /// @dev Stores what was taken.
    function _storeRoom(Room memory room) private {
        _totals.committed = uint128(room.committed);
        if (room.limited) _limit = DailyLimits.create(room.perDay, room.used);
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
        Payout memory payout = Payout(slot, account, cumulative);
        _requireInBucket(bucket, sequence, payout, siblings);
        _pay(bucket, payout, account);
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
        Payout memory payout = Payout(slot, account, cumulative);
        // First, so that no contract is asked about a signature that is not an account of the bucket.
        _requireInBucket(bucket, sequence, payout, siblings);

        if (msg.sender != account) {
            if (block.timestamp > deadline) revert PermissionExpired(deadline);
            bytes32 digest = _hashTypedDataV4(
                keccak256(abi.encode(CLAIM_TO_TYPEHASH, bucket, slot, cumulative, recipient, deadline))
            );
            if (!Signatures.isAccounts(account, digest, permission)) {
                if (Signatures.isCounterfactual(account, permission)) revert CounterfactualSignature(account);
                revert InvalidPermission();
            }
        }

        _pay(bucket, payout, recipient);
    }

    /// @dev Reverts unless the payout is in the tree of a stored root.
    function _requireInBucket(uint32 bucket, uint64 sequence, Payout memory payout, uint256[] calldata siblings)
        private
        view
    {
        uint256 postedRoot = _claimableRoot(bucket, sequence);
        if (payout.account == address(0)) revert ZeroAddress();
        if (hasher.rootOfOne(payout, siblings, levels) != postedRoot) revert NotInBucket(bucket, sequence);
    }

    /// @dev Pays what the slot has not been paid to `recipient`. The caller has checked the payout.
    function _pay(uint32 bucket, Payout memory payout, address recipient) private {
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

    /// @inheritdoc IDistributorControl
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
        return _split(_buckets[bucket].head);
    }

    /// @inheritdoc IDistributor
    function root(uint32 bucket, uint64 sequence) public view returns (uint256 postedRoot) {
        if (sequence == 0) return _zeroRoot;
        postedRoot = _buckets[bucket].roots[sequence];
        // No batch has the root 0: `_requireRoots` refuses it.
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
