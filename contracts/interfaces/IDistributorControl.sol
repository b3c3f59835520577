// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title IDistributorControl
/// @author Guerdon contributors
/// @custom:security-contact security@example.org is a placeholder. Deployers replace it with their own address.
/// @notice The powers over a Distributor: the attestors, the families, the daily limit, withdrawals and pauses.
/// @dev None of them can set a root: `IDistributor` says what can.
interface IDistributorControl {
    /* EVENTS */

    /// @notice Emitted when the attestors change, and at deployment. Digests of batches contain `epoch` from now on.
    event AttestorsChanged(uint64 indexed epoch, address[] attestors, uint16 threshold);

    /// @notice Emitted when the owner announces a change of attestors. The change can be executed from `executableAt`
    /// to `executableAt + ANNOUNCEMENT_LIFETIME`, both included.
    event AttestorsAnnounced(address[] attestors, uint16 threshold, uint64 executableAt);

    /// @notice Emitted when the owner cancels the announced change of attestors.
    event AttestorsCancelled();

    /// @notice Emitted when the number of account families changes, and at deployment.
    event FamiliesChanged(uint32 families);

    /// @notice Emitted when the owner announces a raise of the daily limit. The raise can be executed from
    /// `executableAt` to `executableAt + ANNOUNCEMENT_LIFETIME`, both included.
    /// @param perDay The limit in token base units a day, or 0 for no limit.
    event DailyLimitAnnounced(uint96 perDay, uint64 executableAt);

    /// @notice Emitted when the announced raise is cancelled, by the owner or by a lowering.
    event DailyLimitCancelled();

    /// @notice Emitted when the daily limit changes, and at deployment with a limit. This event, `BatchPosted` and the
    /// times of their blocks are enough to recompute what is left of the limit.
    /// @param perDay The limit in token base units a day, or 0 for no limit.
    /// @param by The owner or the guardian. At deployment, the deployer.
    event DailyLimitChanged(uint96 perDay, address indexed by);

    /// @notice Emitted when the owner announces a withdrawal. The withdrawal can be executed from `executableAt` to
    /// `executableAt + ANNOUNCEMENT_LIFETIME`, both included.
    event WithdrawalAnnounced(address indexed recipient, uint256 amount, uint64 executableAt);

    /// @notice Emitted when the owner cancels the announced withdrawal.
    event WithdrawalCancelled();

    /// @notice Emitted when the owner withdraws tokens that are not committed.
    event Withdrawn(address indexed recipient, uint256 amount);

    /// @notice Emitted when the owner sets the guardian, and at deployment. Address 0 means none.
    event GuardianChanged(address indexed guardian);

    /// @notice Emitted when posting is paused or unpaused. Posting is paused while the block time is below `until`.
    event PostingPausedUntil(uint64 until);

    /// @notice Emitted when claims are paused or unpaused. Claims are paused while the block time is below `until`.
    event ClaimsPausedUntil(uint64 until);

    /* ERRORS */

    /// @notice Thrown when a required address is the zero address.
    error ZeroAddress();

    /// @notice Thrown when attestor addresses are not strictly ascending (duplicates and the zero address included).
    error AttestorsNotAscending(address attestor);

    /// @notice Thrown when posting is paused.
    error PostingPaused(uint64 until);

    /// @notice Thrown when claims are paused.
    error ClaimsPaused(uint64 until);

    /// @notice Thrown when the owner cancels or executes a change that is not announced.
    error NothingAnnounced();

    /// @notice Thrown when the owner executes a change before `executableAt`.
    error TooEarly(uint64 executableAt);

    /// @notice Thrown when the owner executes a change after `executableUntil`. The owner must announce the change
    /// again.
    error AnnouncementExpired(uint64 executableUntil);

    /// @notice Thrown when a withdrawal exceeds the tokens that are not committed.
    error ExceedsUncommitted(uint256 amount, uint256 uncommitted);

    /// @notice Thrown when the threshold is 0 or exceeds the number of attestors.
    error InvalidThreshold(uint16 threshold, uint256 attestors);

    /// @notice Thrown when a set has more than MAX_ATTESTORS attestors.
    error TooManyAttestors(uint256 attestors);

    /// @notice Thrown when a number of families is not a power of two, exceeds MAX_FAMILIES or is not above `current`.
    error InvalidFamilies(uint32 given, uint32 current);

    /// @notice Thrown when the owner announces a daily limit that is not above the current one. 0 is above every limit.
    error NotARaise(uint96 perDay, uint96 current);

    /// @notice Thrown when a daily limit to lower to is not below the current one. 0 is above every limit.
    error NotALowering(uint96 perDay, uint96 current);

    /// @notice Thrown when the guardian lowers the daily limit below a quarter of what the owner set last.
    error BelowQuarter(uint96 perDay, uint96 least);

    /// @notice Thrown when the guardian lowers the daily limit less than PAUSE_COOLDOWN after the last time.
    error LoweringNotAllowedUntil(uint64 time);

    /// @notice Thrown when a caller other than the guardian pauses.
    error NotGuardian(address caller);

    /// @notice Thrown when the duration of a pause is 0 or exceeds `longest`, in seconds.
    error InvalidDuration(uint64 duration, uint64 longest);

    /// @notice Thrown when a pause of the same kind is running or ended less than PAUSE_COOLDOWN ago.
    error PauseNotAllowedUntil(uint64 time);

    /// @notice Thrown when the owner ends a pause that is not running.
    error NotPaused();

    /* ATTESTORS */

    /// @notice Announces a change of attestors. Replaces an earlier announcement. Owner only.
    /// @param attestors_ The full new set, strictly ascending.
    /// @param threshold_ Number of attestors that must sign a batch.
    function announceAttestors(address[] calldata attestors_, uint16 threshold_) external;

    /// @notice Cancels the announced change of attestors. Owner only.
    function cancelAttestors() external;

    /// @notice Executes the announced change of attestors after DELAY. Owner only.
    /// @dev Raises the epoch, which invalidates all earlier attestations.
    function executeAttestors() external;

    /* FAMILIES */

    /// @notice Raises the number of families. Accounts stay in their slots. Owner only.
    /// @dev Starts a new epoch with the same attestors, which invalidates all earlier attestations: they were made under
    /// the former number.
    /// @param families_ The new number, a power of two above the current one and at most MAX_FAMILIES.
    function raiseFamilies(uint32 families_) external;

    /* DAILY LIMIT */

    /// @notice Announces a raise of the daily limit. Replaces an earlier announcement. Owner only.
    /// @param perDay The limit in token base units a day, or 0 for no limit, which is above every limit.
    function announceDailyLimit(uint96 perDay) external;

    /// @notice Cancels the announced raise. Owner only.
    function cancelDailyLimit() external;

    /// @notice Executes the announced raise after DELAY. Owner only.
    function executeDailyLimit() external;

    /// @notice Lowers the daily limit at once, and voids an announced raise. Owner or guardian only.
    /// @dev The guardian can lower to no less than a quarter of what the owner set last, rounded up, once in
    /// PAUSE_COOLDOWN, whichever guardian lowered it last.
    /// @param perDay The limit in token base units a day.
    function lowerDailyLimit(uint96 perDay) external;

    /* WITHDRAWAL */

    /// @notice Announces a withdrawal. Replaces an earlier announcement. Owner only.
    /// @param recipient The address that will receive the tokens.
    /// @param amount Amount in token base units.
    function announceWithdrawal(address recipient, uint256 amount) external;

    /// @notice Cancels the announced withdrawal. Owner only.
    function cancelWithdrawal() external;

    /// @notice Executes the announced withdrawal after DELAY. Owner only.
    /// @dev Reverts if the amount exceeds the tokens that are not committed at that time.
    function executeWithdrawal() external;

    /* PAUSES */

    /// @notice Sets the guardian. Running pauses and cooldowns stay as they are. Owner only.
    /// @param guardian_ The new guardian, or address 0 for none.
    function setGuardian(address guardian_) external;

    /// @notice Pauses posting. Claims continue. Guardian only.
    /// @dev Reverts if less than PAUSE_COOLDOWN has passed since the end of the last posting pause, whichever guardian
    /// made that pause.
    /// @param duration Length of the pause in seconds, 1 to MAX_POSTING_PAUSE.
    function pausePosting(uint64 duration) external;

    /// @notice Pauses claims. Posting continues. Guardian only.
    /// @dev Reverts if less than PAUSE_COOLDOWN has passed since the end of the last claims pause, whichever guardian
    /// made that pause.
    /// @param duration Length of the pause in seconds, 1 to MAX_CLAIMS_PAUSE.
    function pauseClaims(uint64 duration) external;

    /// @notice Ends the posting pause now. The cooldown starts now. Owner only.
    function unpausePosting() external;

    /// @notice Ends the claims pause now. The cooldown starts now. Owner only.
    function unpauseClaims() external;

    /* CONSTANTS */

    /// @notice Returns the time between an announcement and its execution, in seconds.
    function DELAY() external view returns (uint64);

    /// @notice Returns the time after DELAY during which an announced change can be executed, in seconds.
    function ANNOUNCEMENT_LIFETIME() external view returns (uint64);

    /// @notice Returns the maximum length of a posting pause, in seconds.
    function MAX_POSTING_PAUSE() external view returns (uint64);

    /// @notice Returns the maximum length of a claims pause, in seconds.
    function MAX_CLAIMS_PAUSE() external view returns (uint64);

    /// @notice Returns the minimum time between the end of a pause and the next pause of its kind, in seconds.
    function PAUSE_COOLDOWN() external view returns (uint64);

    /// @notice Returns the maximum number of attestors in a set.
    function MAX_ATTESTORS() external view returns (uint256);

    /// @notice Returns the maximum number of families.
    function MAX_FAMILIES() external view returns (uint32);

    /* VIEWS */

    /// @notice Returns the number F of account families. An account belongs to family uint(keccak256(address)) mod F.
    /// Bucket b belongs to family b mod F.
    function families() external view returns (uint32);

    /// @notice Returns the current attestors, ascending.
    function attestors() external view returns (address[] memory);

    /// @notice Returns the number of attestors that must sign a batch.
    function threshold() external view returns (uint16);

    /// @notice Returns the attestor epoch. It is 1 at deployment and rises by 1 with each change of attestors or
    /// threshold.
    function attestorEpoch() external view returns (uint64);

    /// @notice Returns the announced change of attestors. `executableAt` is 0 if none is announced.
    function pendingAttestors()
        external
        view
        returns (address[] memory attestors_, uint16 threshold_, uint64 executableAt);

    /// @notice Returns the daily limit.
    /// @return perDay The limit in token base units a day, or 0 for none.
    /// @return left What can be committed now, or the maximum uint256 without a limit.
    /// @return ownerSet The limit that the owner set last. The guardian's lowerings are measured by it.
    function dailyLimit() external view returns (uint96 perDay, uint256 left, uint96 ownerSet);

    /// @notice Returns the announced raise of the daily limit. `executableAt` is 0 if none is announced.
    function pendingDailyLimit() external view returns (uint96 perDay, uint64 executableAt);

    /// @notice Returns the announced withdrawal. `executableAt` is 0 if none is announced.
    function pendingWithdrawal() external view returns (address recipient, uint256 amount, uint64 executableAt);

    /// @notice Returns the guardian, or address 0 if there is none.
    function guardian() external view returns (address);

    /// @notice Returns the end of the last posting pause, or 0 if posting was never paused. Posting is paused while the
    /// block time is below it.
    function postingPausedUntil() external view returns (uint64);

    /// @notice Returns the end of the last claims pause, or 0 if claims were never paused. Claims are paused while the
    /// block time is below it.
    function claimsPausedUntil() external view returns (uint64);
}
