// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {IPoseidon2, ITreeErrors, Payout} from "./IPoseidon2.sol";
import {IVerifier} from "./IVerifier.sol";

/// @notice The next state of one bucket, as its attestors sign it.
/// @param bucket The bucket's number.
/// @param sequence One more than the bucket's last.
/// @param newRoot Root of the bucket's tree after the batch.
/// @param itemsRoot Root of the tree of the batch's (address, amount) items.
/// @param interactionsRoot Root of the OpenZeppelin StandardMerkleTree over the interactions behind the items.
/// @param ledgerHead Hash of the newest sealed block of the operator's ledger.
/// @param validUntil Last second at which the batch can be posted.
struct Batch {
    uint32 bucket;
    uint64 sequence;
    uint256 newRoot;
    uint256 itemsRoot;
    bytes32 interactionsRoot;
    bytes32 ledgerHead;
    uint64 validUntil;
}

/// @notice One attestor's signature over the EIP-712 digest of a batch.
/// @param attestor The attestor's address.
/// @param signature 65 bytes of ECDSA, low s, v 27 or 28; or what the attestor's own code accepts by EIP-1271, if it has code.
struct Attestation {
    address attestor;
    bytes signature;
}

/// @notice What a Distributor is deployed with.
/// @param token The reward token. Tokens that take fees on transfers or change balances by themselves are not supported.
/// @param verifier Verifies proofs of the batch statement for this height of tree; its key can never change.
/// @param hasher Poseidon2.
/// @param levels Height L of bucket trees, 1 to 8: a bucket has 4^L / 2 slots.
/// @param families Number F of account families: bucket b is of family b mod F.
/// @param owner A timelock or a multisig.
/// @param guardian May pause; address 0 for none.
/// @param attestors Strictly ascending addresses.
/// @param threshold How many of them must sign a batch.
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
}

/// @notice Why `claimMany` passed over a payout.
enum SkipReason {
    AlreadyPaid,
    TransferFailed
}

/// @title IDistributor
/// @notice Pays a reward program. Anyone may post a bucket's next root, but only one that m attestors have signed and that is proven to be
/// the old root plus the attested rewards; what accounts are entitled to never exceeds what the contract holds. No key can do otherwise.
/// What is proven is the arithmetic; that an item stands for a real interaction is attested. The log alone rebuilds every balance.
interface IDistributor is ITreeErrors {
    // ------------------------------------------------------------------------------------------------------------------------ events

    /// @notice A bucket has moved to its next state. This log is the data availability: `deltas` of all batches rebuild the bucket.
    /// @param total Sum of the batch's deltas, in token base units.
    /// @param deltas What the batch adds to each touched slot; the format is `postBatch`'s.
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

    /// @notice `amount` of what `account` has earned in a slot was paid to `recipient`.
    event Claimed(
        uint32 indexed bucket, uint16 indexed slot, address indexed account, address recipient, uint256 amount
    );

    /// @notice `claimMany` passed over a payout; nothing was paid, and what is due stays due.
    event PayoutSkipped(uint32 indexed bucket, uint16 indexed slot, address indexed account, SkipReason reason);

    /// @notice These attestors, `threshold` of them, bless batches from here on; batches name `epoch`. Emitted at deployment too.
    event AttestorsChanged(uint64 indexed epoch, address[] attestors, uint16 threshold);

    /// @notice A change of attestors can be executed from `executableAt` on, until `executableAt + ANNOUNCEMENT_LIFETIME`.
    event AttestorsAnnounced(address[] attestors, uint16 threshold, uint64 executableAt);

    /// @notice The announced change of attestors is off.
    event AttestorsCancelled();

    /// @notice A withdrawal can be executed from `executableAt` on, until `executableAt + ANNOUNCEMENT_LIFETIME`.
    event WithdrawalAnnounced(address indexed recipient, uint256 amount, uint64 executableAt);

    /// @notice The announced withdrawal is off.
    event WithdrawalCancelled();

    /// @notice Tokens that were not committed have left.
    event Withdrawn(address indexed recipient, uint256 amount);

    /// @notice The guardian is another, address 0 for none.
    event GuardianChanged(address indexed guardian);

    /// @notice No batch can be posted until this time, or until the owner unpauses.
    event PostingPausedUntil(uint64 until);

    /// @notice Nothing can be claimed until this time, or until the owner unpauses.
    event ClaimsPausedUntil(uint64 until);

    // ------------------------------------------------------------------------------------------------------------------------ errors

    /// @notice The batch is not the bucket's next.
    error WrongSequence(uint64 given, uint64 expected);

    /// @notice The batch could be posted until `validUntil` only.
    error BatchExpired(uint64 validUntil);

    /// @notice A new root is never 0.
    error ZeroRoot();

    /// @notice `deltas` is not a count, that many records of 14 bytes and whole records of 32 bytes, at least one record in all.
    error DeltasLength();

    /// @notice `deltas` adds to a slot that no account holds.
    error SlotNotOpen(uint256 slot);

    /// @notice `deltas` adds nothing to a slot that it names.
    error ZeroDelta(uint256 slot);

    /// @notice `deltas` opens more accounts than the bucket has free slots.
    error BucketFull();

    /// @notice An address that must not be 0 is.
    error ZeroAddress();

    /// @notice Fewer signatures than the threshold.
    error TooFewAttestations(uint256 given, uint256 required);

    /// @notice Attestors do not rise strictly; one that stands twice does not either.
    error AttestorsNotAscending(address attestor);

    /// @notice The signer is not an attestor now.
    error UnknownAttestor(address attestor);

    /// @notice The attestor has not signed this batch's digest.
    error InvalidAttestation(address attestor);

    /// @notice The proof does not show that the new root is the old one plus the attested items.
    error InvalidProof();

    /// @notice Entitlements would exceed what the contract has ever kept for them: what it holds and what it has paid.
    error ReserveExceeded(uint256 committed, uint256 reserve);

    /// @notice Entitlements would not stay below 2^127.
    error CommittedTooLarge(uint256 committed);

    /// @notice The guardian has paused posting.
    error PostingPaused(uint64 until);

    /// @notice The guardian has paused claims.
    error ClaimsPaused(uint64 until);

    /// @notice The root of this sequence is not kept: 0, not yet posted, or more than 15 batches old.
    error RootNotKept(uint32 bucket, uint64 sequence);

    /// @notice The slot does not hold this account with this cumulative amount in that state of the bucket.
    error NotInBucket(uint32 bucket, uint64 sequence);

    /// @notice All of it has been paid.
    error NothingToClaim();

    /// @notice The permission was good until `deadline` only.
    error PermissionExpired(uint256 deadline);

    /// @notice The account has not permitted this recipient.
    error InvalidPermission();

    /// @notice Nothing of the kind is announced.
    error NothingAnnounced();

    /// @notice The delay has not passed.
    error TooEarly(uint64 executableAt);

    /// @notice The announcement was not executed in time: announce again.
    error AnnouncementExpired(uint64 executableUntil);

    /// @notice The withdrawal would take tokens that accounts are entitled to.
    error ExceedsUncommitted(uint256 amount, uint256 uncommitted);

    /// @notice The threshold is 0 or more than the attestors.
    error InvalidThreshold(uint16 threshold, uint256 attestors);

    /// @notice More attestors than MAX_ATTESTORS.
    error TooManyAttestors(uint256 attestors);

    /// @notice Levels are 1 to 8, and there is at least one family.
    error InvalidShape(uint8 levels, uint32 families);

    /// @notice Only the guardian pauses.
    error NotGuardian(address caller);

    /// @notice A pause lasts at least a second and at most `longest`.
    error InvalidDuration(uint64 duration, uint64 longest);

    /// @notice A pause is running or has ended less than PAUSE_COOLDOWN ago.
    error PauseNotAllowedUntil(uint64 time);

    /// @notice There is no pause to end.
    error NotPaused();

    // ----------------------------------------------------------------------------------------------------------------------- posting

    /// @notice Moves a bucket to its next state. Anyone may call.
    /// @dev Pays nothing and trusts nobody: refused unless sequence, deadline, `deltas`, signatures, proof and reserve all hold.
    /// @param batch The next state.
    /// @param deltas uint16 e; e times (uint16 slot, uint96 delta), slots strictly ascending and open; then (address, uint96 delta) for each
    /// account that the batch opens, at the next free slots. Deltas and addresses are not 0; at least one record, not a byte more.
    /// @param proof The Groth16 proof in the order of `IVerifier.verify`.
    /// @param attestations At least `threshold`, by strictly ascending attestor, over the EIP-712 digest of
    /// `Batch(uint32 bucket,uint64 sequence,uint256 oldRoot,uint256 newRoot,uint256 itemsRoot,bytes32 interactionsRoot,bytes32 ledgerHead,
    /// bytes32 deltasHash,uint64 attestorEpoch,uint64 validUntil)`, with oldRoot and attestorEpoch as stored here and deltasHash the
    /// keccak256 of `deltas`. The digest mod p is also the proof's challenge.
    function postBatch(
        Batch calldata batch,
        bytes calldata deltas,
        uint256[8] calldata proof,
        Attestation[] calldata attestations
    ) external;

    // ------------------------------------------------------------------------------------------------------------------------ claims

    /// @notice Pays an account all that it has earned in a slot and not been paid. Anyone may call.
    /// @param bucket The account's bucket.
    /// @param slot The account's slot.
    /// @param sequence The state that `siblings` were read from, among the bucket's last 16: a batch that lands meanwhile breaks nothing.
    /// @param account The account, which is paid.
    /// @param cumulative All that it has ever earned there, at that state.
    /// @param siblings 3L - 1 nodes: the other pair under the lowest node, then three nodes a level, lowest level first, left to right.
    function claim(
        uint32 bucket,
        uint16 slot,
        uint64 sequence,
        address account,
        uint128 cumulative,
        uint256[] calldata siblings
    ) external;

    /// @notice Pays many accounts of one bucket, with one walk up the tree. Anyone may call.
    /// @dev What is paid already and transfers that fail are passed over with `PayoutSkipped`.
    /// @param payouts Slots strictly ascending.
    /// @param siblings The nodes that do not follow from the payouts, level by level, in reading order.
    function claimMany(uint32 bucket, uint64 sequence, Payout[] calldata payouts, uint256[] calldata siblings) external;

    /// @notice Pays what an account has earned to another address: called by the account, or with its permission.
    /// @dev The permission needs no nonce: what is claimed cannot be claimed again. Anybody may still `claim` to the account itself first.
    /// @param recipient Who is paid.
    /// @param deadline Last second at which the permission is good; of no effect where the account calls.
    /// @param permission The account's signature, ECDSA or EIP-1271, over the EIP-712 digest of
    /// `ClaimTo(uint32 bucket,uint16 slot,uint128 cumulative,address recipient,uint256 deadline)`; empty where the account calls.
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

    // ----------------------------------------------------------------------------------------------------------------------- control

    /// @notice Announces a change of attestors, in place of one announced before. Owner only.
    /// @param attestors_ The full new set, strictly ascending.
    /// @param threshold_ How many of them must sign.
    function announceAttestors(address[] calldata attestors_, uint16 threshold_) external;

    /// @notice Takes the announced change of attestors back. Owner only.
    function cancelAttestors() external;

    /// @notice Makes the announced change of attestors once DELAY has passed; raises the epoch, so that no older signature counts. Owner only.
    function executeAttestors() external;

    /// @notice Announces a withdrawal, in place of one announced before. Owner only.
    function announceWithdrawal(address recipient, uint256 amount) external;

    /// @notice Takes the announced withdrawal back. Owner only.
    function cancelWithdrawal() external;

    /// @notice Makes the announced withdrawal once DELAY has passed, if the amount is not committed then. Owner only.
    function executeWithdrawal() external;

    /// @notice Names the guardian. Running pauses and cooldowns are not touched. Owner only.
    function setGuardian(address guardian_) external;

    /// @notice Stops posting for `duration` seconds, at most MAX_POSTING_PAUSE. Guardian only; not within PAUSE_COOLDOWN of the end of the
    /// last posting pause, whoever made that. Claims go on.
    function pausePosting(uint64 duration) external;

    /// @notice Stops claims for `duration` seconds, at most MAX_CLAIMS_PAUSE. Guardian only; not within PAUSE_COOLDOWN of the end of the last
    /// claims pause, whoever made that. Posting goes on.
    function pauseClaims(uint64 duration) external;

    /// @notice Ends the posting pause now; the cooldown runs from here. Owner only.
    function unpausePosting() external;

    /// @notice Ends the claims pause now; the cooldown runs from here. Owner only.
    function unpauseClaims() external;

    // ------------------------------------------------------------------------------------------------------------------------- views

    /// @notice Time between an announcement and its execution, in seconds.
    function DELAY() external view returns (uint64);

    /// @notice Time after DELAY in which an announcement can be executed, in seconds.
    function ANNOUNCEMENT_LIFETIME() external view returns (uint64);

    /// @notice The longest posting pause, in seconds.
    function MAX_POSTING_PAUSE() external view returns (uint64);

    /// @notice The longest claims pause, in seconds.
    function MAX_CLAIMS_PAUSE() external view returns (uint64);

    /// @notice Time after a pause in which there is no other of its kind, in seconds.
    function PAUSE_COOLDOWN() external view returns (uint64);

    /// @notice The most attestors that a set may have.
    function MAX_ATTESTORS() external view returns (uint256);

    /// @notice The reward token.
    function token() external view returns (IERC20);

    /// @notice The proof verifier, for ever.
    function verifier() external view returns (IVerifier);

    /// @notice The tree hasher, for ever.
    function hasher() external view returns (IPoseidon2);

    /// @notice Height L of bucket trees.
    function levels() external view returns (uint8);

    /// @notice Slots N of a bucket: 4^L / 2.
    function slots() external view returns (uint32);

    /// @notice Number F of account families: an account's family is uint(keccak256(address)) mod F, bucket b is of family b mod F.
    function families() external view returns (uint32);

    /// @notice A bucket's last sequence (0 before the first batch) and the number of its slots in use.
    function buckets(uint32 bucket) external view returns (uint64 sequence, uint32 opened);

    /// @notice Root of a bucket after a batch. Reverts with RootNotKept unless it is among the last 16; sequence 0 has the root of zeros.
    function root(uint32 bucket, uint64 sequence) external view returns (uint256);

    /// @notice What a slot's account has been paid, in token base units.
    function claimed(uint32 bucket, uint16 slot) external view returns (uint128);

    /// @notice What all accounts have ever earned, in token base units.
    function committed() external view returns (uint128);

    /// @notice What all accounts have been paid, in token base units.
    function claimedTotal() external view returns (uint128);

    /// @notice The attestors now, ascending.
    function attestors() external view returns (address[] memory);

    /// @notice How many attestors must sign a batch.
    function threshold() external view returns (uint16);

    /// @notice Raised at every change of attestors or threshold; 1 at first.
    function attestorEpoch() external view returns (uint64);

    /// @notice The announced change of attestors; `executableAt` is 0 if there is none.
    function pendingAttestors()
        external
        view
        returns (address[] memory attestors_, uint16 threshold_, uint64 executableAt);

    /// @notice The announced withdrawal; `executableAt` is 0 if there is none.
    function pendingWithdrawal() external view returns (address recipient, uint256 amount, uint64 executableAt);

    /// @notice The guardian, or address 0.
    function guardian() external view returns (address);

    /// @notice End of the last posting pause; posting is paused before it. 0 if there never was one.
    function postingPausedUntil() external view returns (uint64);

    /// @notice End of the last claims pause; claims are paused before it. 0 if there never was one.
    function claimsPausedUntil() external view returns (uint64);
}
