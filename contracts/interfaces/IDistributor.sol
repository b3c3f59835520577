// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {IDistributorControl} from "./IDistributorControl.sol";
import {IPoseidon2, ITreeErrors, Payout} from "./IPoseidon2.sol";
import {IVerifier} from "./IVerifier.sol";

/// @notice The next state of one bucket. Attestors sign these fields.
/// @param bucket Number of the bucket.
/// @param sequence The bucket's last sequence plus 1.
/// @param newRoot Root of the bucket's tree after the batch.
/// @param itemsRoot Root of the tree of the batch's items. An item is an (address, amount) pair.
/// @param interactionsRoot Root of the OpenZeppelin StandardMerkleTree of the interactions that the items sum up.
/// @param ledgerHead Hash of the newest sealed block of the operator's ledger.
/// @param validUntil Last Unix second at which the batch can be posted.
struct Batch {
    uint32 bucket;
    uint64 sequence;
    uint256 newRoot;
    uint256 itemsRoot;
    bytes32 interactionsRoot;
    bytes32 ledgerHead;
    uint64 validUntil;
}

/// @notice The signature of one attestor over the EIP-712 digest of a batch.
/// @param attestor Address of the attestor.
/// @param signature For an address without code: 65 bytes of ECDSA with low s and v of 27 or 28. For an address with
/// code: any bytes that its EIP-1271 function accepts.
struct Attestation {
    address attestor;
    bytes signature;
}

/// @notice One batch of `postBatches`.
/// @param batch The next state of the bucket.
/// @param structHash EIP-712 hashStruct of the batch, as its attestors signed it.
/// @param deltas As for `postBatch`.
/// @param proof As for `postBatch`.
/// @param attestations Attestations by strictly ascending attestor, of which at least `threshold` must hold.
struct Post {
    Batch batch;
    bytes32 structHash;
    bytes deltas;
    uint256[8] proof;
    Attestation[] attestations;
}

/// @notice The arguments of the constructor.
/// @param token The reward token. `IDistributor` lists the assumptions that the token must meet.
/// @param verifier Verifies proofs of the batch statement for trees of height `levels`. The verifier can never change.
/// @param hasher The Poseidon2 contract. The hasher can never change.
/// @param levels Height L of bucket trees, 1 to 8. A bucket has 4^L / 2 slots.
/// @param families Number F of account families at the start, a power of two. Bucket b belongs to family b mod F.
/// @param owner The owner: a timelock or a multisig.
/// @param guardian The address that may pause, or address 0 for none.
/// @param attestors Addresses of the first attestors, strictly ascending.
/// @param threshold Number of attestors that must sign a batch.
/// @param dailyLimit Amount that batches may commit in a day, in token base units, or 0 for no limit.
struct Config {
    IERC20 token;
    IVerifier verifier;
    IPoseidon2 hasher;
    uint8 levels;
    uint32 families;
    address owner;
    address guardian;
    address[] attestors;
    uint16 threshold;
    uint96 dailyLimit;
}

/// @notice The reason for which `postBatches` skipped a batch, in the order of the checks.
enum BatchSkipReason {
    WrongSequence,
    Expired,
    WrongHash,
    TooFewAttestations,
    DailyLimit,
    Reserve
}

/// @notice The reason for which `claimMany` skipped a payout.
enum SkipReason {
    AlreadyPaid,
    TransferFailed
}

/// @title IDistributor
/// @author Guerdon contributors
/// @custom:security-contact security@example.org is a placeholder. Deployers replace it with their own address.
/// @notice Pays the accounts of a reward program.
/// @dev Accounts are held in buckets. The contract stores every Merkle root of each bucket.
///
/// Anyone may post the next root of a bucket. The contract accepts the root if at least `threshold` attestors have
/// signed the batch and a proof shows that the new root is the old root plus the attested items. No key, not even the
/// owner's, can set a root in another way. The proof covers the arithmetic. Attestors vouch that each item belongs to
/// real interactions.
///
/// If there is a daily limit, batches commit at most `limit * (1 + t / 86400)` within any t seconds.
///
/// At each post, `committed` (all that accounts have ever earned) is at most the balance plus `claimedTotal` (all that
/// accounts have been paid). The owner can withdraw only tokens that are not committed when the withdrawal is executed.
///
/// The deltas in the `BatchPosted` logs are enough to rebuild every balance.
///
/// List of assumptions on the token. The contract does not check them:
/// - `transfer` returns true, returns nothing or reverts, as SafeERC20 expects. If it returns false, the claim reverts.
/// - `transfer` of `amount` lowers the sender's balance and raises the recipient's balance by exactly `amount`. A token
/// that takes a fee pays accounts less than they are entitled to.
/// - The balance of the Distributor falls only by the Distributor's own transfers. A token that rebases downwards
/// leaves less than is committed. The last accounts to claim are then not paid until the program is funded again.
/// - The token may call back during `transfer`. State-changing functions that pay or post are not reentrant.
/// - The token may block single accounts. `claimMany` skips them. A blocked account can still use `claimTo`.
/// - Amounts fit: `committed` stays below 2^127 base units.
interface IDistributor is IDistributorControl, ITreeErrors {
    /* EVENTS */

    /// @notice Emitted when a bucket moves to its next state.
    /// @dev The log provides data availability: the deltas of all batches of a bucket rebuild the bucket's tree.
    /// @param total Sum of the batch's deltas, in token base units.
    /// @param deltas The amounts that the batch adds to slots, in the format that `postBatch` defines.
    event BatchPosted(
        uint32 indexed bucket,
        uint64 indexed sequence,
        uint256 newRoot,
        uint256 itemsRoot,
        bytes32 interactionsRoot,
        bytes32 ledgerHead,
        uint256 total,
        bytes deltas
    );

    /// @notice Emitted when `postBatches` skips a batch. Nothing of the batch is stored.
    event BatchSkipped(uint32 indexed bucket, uint64 indexed sequence, BatchSkipReason reason);

    /// @notice Emitted when `recipient` is paid `amount` of the rewards that `account` has earned in a slot.
    event Claimed(
        uint32 indexed bucket, uint16 indexed slot, address indexed account, address recipient, uint256 amount
    );

    /// @notice Emitted when `claimMany` skips a payout. Nothing is paid, and the account can claim later.
    event PayoutSkipped(uint32 indexed bucket, uint16 indexed slot, address indexed account, SkipReason reason);

    /* ERRORS */

    /// @notice Thrown when the sequence of a batch is not the bucket's last sequence plus 1.
    error WrongSequence(uint64 given, uint64 expected);

    /// @notice Thrown when a batch is posted after its `validUntil`.
    error BatchExpired(uint64 validUntil);

    /// @notice Thrown when the new root of a batch is 0.
    error ZeroRoot();

    /// @notice Thrown when the length of `deltas` is not 2 + 14 * e + 32 * n for its count e and a whole number n, or
    /// when `deltas` holds no record.
    error DeltasLength();

    /// @notice Thrown when `deltas` adds to a slot that no account occupies.
    error SlotNotOpen(uint256 slot);

    /// @notice Thrown when `deltas` holds a delta of 0.
    error ZeroDelta(uint256 slot);

    /// @notice Thrown when `deltas` opens more accounts than the bucket has free slots.
    error BucketFull();

    /// @notice Thrown when a batch has fewer attestations than the threshold.
    error TooFewAttestations(uint256 given, uint256 required);

    /// @notice Thrown when an attestation names an address that is not an attestor in the current epoch.
    error UnknownAttestor(address attestor);

    /// @notice Thrown when a signature is not the attestor's signature over the digest of the batch.
    error InvalidAttestation(address attestor);

    /// @notice Thrown when a signature of an address without code has the form of ERC-6492. Such a signature asks for a
    /// deployment first. The contract makes no call that a caller names: deploy the account, then sign again.
    error CounterfactualSignature(address signer);

    /// @notice Thrown when too little gas is left to ask a contract about a signature. A caller cannot make a signature
    /// look invalid by giving little gas.
    error SignatureGas();

    /// @notice Thrown when the verifier rejects the proof that the new root is the old root plus the attested items.
    error InvalidProof();

    /// @notice Thrown when a batch would raise `committed` above the reserve. The reserve is the token balance plus all
    /// that accounts have been paid.
    error ReserveExceeded(uint256 committed, uint256 reserve);

    /// @notice Thrown when a batch would raise `committed` to 2^127 or more.
    error CommittedTooLarge(uint256 committed);

    /// @notice Thrown when a batch would commit more than is left of the daily limit.
    error DailyLimitExceeded(uint256 total, uint256 left);

    /// @notice Thrown when `postBatches` is called with no batch or with more than MAX_POSTS.
    error TooManyBatches(uint256 given);

    /// @notice Thrown when `postBatches` has skipped every batch.
    error NothingPosted();

    /// @notice Thrown when a sequence of the bucket is not posted yet. Claims also reject sequence 0.
    error UnknownRoot(uint32 bucket, uint64 sequence);

    /// @notice Thrown when the payouts and siblings do not lead to the bucket's root at that sequence.
    error NotInBucket(uint32 bucket, uint64 sequence);

    /// @notice Thrown when the slot has already been paid the cumulative amount or more.
    error NothingToClaim();

    /// @notice Thrown when `claimTo` is called with a permission after its deadline.
    error PermissionExpired(uint256 deadline);

    /// @notice Thrown when the permission is not the account's signature for these arguments.
    error InvalidPermission();

    /// @notice Thrown when `levels` is not 1 to 8.
    error InvalidLevels(uint8 levels);

    /* POSTING */

    /// @notice Posts the next batch of a bucket. Anyone may call.
    /// @dev Pays nothing. Reverts unless the sequence, the deadline, `deltas`, the attestations, the proof and the
    /// reserve are all valid. The parts of `deltas`, packed and big-endian:
    ///
    /// 1. uint16 e.
    /// 2. e records (uint16 slot, uint96 delta). Slots are occupied and strictly ascending.
    /// 3. Any number of records (address, uint96 delta), one for each account that the batch opens. The accounts take
    /// the next free slots in this order.
    ///
    /// Deltas and addresses are not 0. There is at least one record and no further byte.
    ///
    /// Attestors sign the EIP-712 digest of
    /// `Batch(uint32 bucket,uint64 sequence,uint256 oldRoot,uint256 newRoot,uint256 itemsRoot,bytes32 interactionsRoot,
    /// bytes32 ledgerHead,bytes32 deltasHash,uint64 attestorEpoch,uint64 validUntil)`.
    /// `oldRoot` and `attestorEpoch` are the stored values. `deltasHash` is the keccak256 hash of `deltas`. The digest
    /// mod p is also the challenge of the proof.
    /// @param batch The next state of the bucket.
    /// @param deltas The amounts that the batch adds to slots.
    /// @param proof The Groth16 proof, in the order of `IVerifier.verify`.
    /// @param attestations At least `threshold` attestations, by strictly ascending attestor.
    function postBatch(
        Batch calldata batch,
        bytes calldata deltas,
        uint256[8] calldata proof,
        Attestation[] calldata attestations
    ) external;

    /// @notice Posts batches of different buckets, and successive ones of a bucket, with one merged proof check. Anyone
    /// may call.
    /// @dev Skips a batch, and emits `BatchSkipped`, if its sequence is not the bucket's next, it has expired, its
    /// `structHash` is not what the contract computes from storage, fewer than `threshold` of its attestations hold, or
    /// it exceeds what is left of the daily limit or of the reserve after the batches before it. So a batch that has
    /// become invalid does not keep the others from being posted. Reverts if `deltas` are malformed, a root is not valid
    /// or a proof does not hold: no such batch was ever valid. Reverts if nothing is left to post.
    /// @param posts 1 to MAX_POSTS batches, in the order in which they are posted.
    function postBatches(Post[] calldata posts) external;

    /* CLAIMS */

    /// @notice Pays an account all that it has earned in a slot and has not been paid. Anyone may call.
    /// @dev `sequence` names the state of the bucket that `siblings` were read from. Every state is
    /// accepted, so no later batch invalidates the claim.
    /// @param bucket Number of the account's bucket.
    /// @param slot Number of the account's slot.
    /// @param sequence Sequence of the bucket at which `cumulative` and `siblings` were read.
    /// @param account The account, which receives the tokens.
    /// @param cumulative All that the account has ever earned in the slot at that sequence, in token base units.
    /// @param siblings 3L - 1 nodes, lowest level first: the other pair under the lowest node, then three nodes for
    /// each further level, left to right.
    function claim(
        uint32 bucket,
        uint16 slot,
        uint64 sequence,
        address account,
        uint128 cumulative,
        uint256[] calldata siblings
    ) external;

    /// @notice Pays many accounts of one bucket and checks them all with one multiproof. Anyone may call.
    /// @dev Skips payouts that are already paid and transfers that fail, and emits `PayoutSkipped` for each.
    /// @param bucket Number of the bucket.
    /// @param sequence Sequence of the bucket at which `payouts` and `siblings` were read.
    /// @param payouts The payouts, by strictly ascending slot.
    /// @param siblings The nodes that do not follow from `payouts`, lowest level first, left to right.
    function claimMany(uint32 bucket, uint64 sequence, Payout[] calldata payouts, uint256[] calldata siblings) external;

    /// @notice Pays the rewards of an account to another address. Called by the account, or by anyone with the
    /// account's permission.
    /// @dev The permission needs no nonce, because an amount can be claimed only once. Warning: anyone may still call
    /// `claim` first, which pays the account itself.
    ///
    /// The account signs the EIP-712 digest of
    /// `ClaimTo(uint32 bucket,uint16 slot,uint128 cumulative,address recipient,uint256 deadline)`.
    /// @param bucket Number of the account's bucket.
    /// @param slot Number of the account's slot.
    /// @param sequence Sequence of the bucket at which `cumulative` and `siblings` were read.
    /// @param account The account that earned the rewards.
    /// @param cumulative All that the account has ever earned in the slot at that sequence, in token base units.
    /// @param siblings As for `claim`.
    /// @param recipient The address that receives the tokens.
    /// @param deadline Last Unix second at which the permission is valid. Ignored if the account calls.
    /// @param permission The account's signature, ECDSA or EIP-1271. Ignored if the account calls.
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
    ) external;

    /* CONSTANTS */

    /// @notice Returns the maximum number of batches in one call of `postBatches`.
    function MAX_POSTS() external view returns (uint256);

    /* VIEWS */

    /// @notice Returns the reward token.
    function token() external view returns (IERC20);

    /// @notice Returns the proof verifier. It never changes.
    function verifier() external view returns (IVerifier);

    /// @notice Returns the tree hasher. It never changes.
    function hasher() external view returns (IPoseidon2);

    /// @notice Returns the height L of bucket trees.
    function levels() external view returns (uint8);

    /// @notice Returns the number of slots of a bucket: N = 4^L / 2.
    function slots() external view returns (uint32);

    /// @notice Returns the last sequence of a bucket (0 before the first batch) and the number of its occupied slots.
    function buckets(uint32 bucket) external view returns (uint64 sequence, uint32 opened);

    /// @notice Returns the root of a bucket after a batch. Sequence 0 has the root of the empty tree.
    /// @dev Reverts with `UnknownRoot` if `sequence` is not posted yet.
    function root(uint32 bucket, uint64 sequence) external view returns (uint256);

    /// @notice Returns the amount that the account of a slot has been paid, in token base units.
    function claimed(uint32 bucket, uint16 slot) external view returns (uint128);

    /// @notice Returns the amount that all accounts have ever earned, in token base units.
    function committed() external view returns (uint128);

    /// @notice Returns the amount that all accounts have been paid, in token base units.
    function claimedTotal() external view returns (uint128);
}
