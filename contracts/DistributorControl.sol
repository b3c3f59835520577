// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";

import {Config} from "./interfaces/IDistributor.sol";
import {IDistributorControl} from "./interfaces/IDistributorControl.sol";
import {Attestations} from "./libraries/Attestations.sol";
import {DailyLimits, Limit} from "./libraries/DailyLimits.sol";

/// @title DistributorControl
/// @author Guerdon contributors
/// @custom:security-contact security@example.org is a placeholder. Deployers replace it with their own address.
/// @notice The powers over a Distributor: the attestors, the families, the daily limit, withdrawals and pauses.
/// `IDistributorControl` documents every function, event and error.
abstract contract DistributorControl is IDistributorControl, Ownable2Step {
    using Attestations for Attestations.Set;

    /// @dev All fields share one word, so posting and claiming read storage once.
    /// @param attestorEpoch Epoch of the current attestors.
    /// @param threshold Number of attestors that must sign a batch.
    /// @param postingPausedUntil End of the last posting pause, in Unix seconds.
    /// @param claimsPausedUntil End of the last claims pause, in Unix seconds.
    /// @param families Number of account families.
    /// @param limited Whether there is a daily limit. Without one, posting does not read the limit's word.
    struct Status {
        uint64 attestorEpoch;
        uint16 threshold;
        uint64 postingPausedUntil;
        uint64 claimsPausedUntil;
        uint32 families;
        bool limited;
    }

    /// @dev An announced change of attestors. `executableAt` is 0 if none is announced.
    struct AttestorsAnnouncement {
        address[] attestors;
        uint16 threshold;
        uint64 executableAt;
    }

    /// @dev An announced withdrawal. `executableAt` is 0 if none is announced.
    struct WithdrawalAnnouncement {
        address recipient;
        uint64 executableAt;
        uint256 amount;
    }

    /// @dev What changes of the daily limit depend on.
    /// @param ownerSet The limit that the owner set last, or 0 for none.
    /// @param guardianLoweredAt Unix seconds of the last lowering by a guardian, or 0.
    struct LimitHistory {
        uint96 ownerSet;
        uint64 guardianLoweredAt;
    }

    /// @dev An announced raise of the daily limit. `executableAt` is 0 if none is announced.
    struct LimitAnnouncement {
        uint96 perDay;
        uint64 executableAt;
    }

    /// @inheritdoc IDistributorControl
    uint64 public constant DELAY = 7 days;
    /// @inheritdoc IDistributorControl
    uint64 public constant ANNOUNCEMENT_LIFETIME = 14 days;
    /// @inheritdoc IDistributorControl
    uint64 public constant MAX_POSTING_PAUSE = 14 days;
    /// @inheritdoc IDistributorControl
    uint64 public constant MAX_CLAIMS_PAUSE = 7 days;
    /// @inheritdoc IDistributorControl
    uint64 public constant PAUSE_COOLDOWN = 30 days;
    /// @inheritdoc IDistributorControl
    uint256 public constant MAX_ATTESTORS = Attestations.MAX_ATTESTORS;
    /// @inheritdoc IDistributorControl
    uint32 public constant MAX_FAMILIES = 1 << 16;

    /// @inheritdoc IDistributorControl
    address public guardian;

    Status internal _status;
    Attestations.Set internal _attestors;
    AttestorsAnnouncement private _pendingAttestors;
    WithdrawalAnnouncement private _pendingWithdrawal;
    /// @dev Counts only while `_status.limited`.
    Limit internal _limit;
    LimitHistory private _limitHistory;
    LimitAnnouncement private _pendingLimit;

    constructor(Config memory config) Ownable(config.owner) {
        Attestations.validate(config.attestors, config.threshold);
        if (!_isFamilies(config.families)) revert InvalidFamilies(config.families, 0);
        _setGuardian(config.guardian);
        _setFamilies(config.families);
        _setAttestors(config.attestors, config.threshold);
        if (config.dailyLimit != 0) {
            _limitHistory.ownerSet = config.dailyLimit;
            _setDailyLimit(config.dailyLimit);
        }
    }

    /* ATTESTORS */

    /// @inheritdoc IDistributorControl
    function announceAttestors(address[] calldata attestors_, uint16 threshold_) external onlyOwner {
        Attestations.validate(attestors_, threshold_);

        uint64 executableAt = uint64(block.timestamp) + DELAY;
        _pendingAttestors = AttestorsAnnouncement(attestors_, threshold_, executableAt);

        emit AttestorsAnnounced(attestors_, threshold_, executableAt);
    }

    /// @inheritdoc IDistributorControl
    function cancelAttestors() external onlyOwner {
        if (_pendingAttestors.executableAt == 0) revert NothingAnnounced();

        delete _pendingAttestors;

        emit AttestorsCancelled();
    }

    /// @inheritdoc IDistributorControl
    function executeAttestors() external onlyOwner {
        AttestorsAnnouncement memory pending = _pendingAttestors;
        _requireExecutable(pending.executableAt);

        delete _pendingAttestors;
        _setAttestors(pending.attestors, pending.threshold);
    }

    /// @dev Starts a new epoch with these attestors. The caller has validated them.
    function _setAttestors(address[] memory attestors_, uint16 threshold_) private {
        uint64 epoch = ++_status.attestorEpoch;
        _status.threshold = threshold_;
        _attestors.replace(attestors_, epoch);

        emit AttestorsChanged(epoch, attestors_, threshold_);
    }

    /* FAMILIES */

    /// @inheritdoc IDistributorControl
    function raiseFamilies(uint32 families_) external onlyOwner {
        uint32 current = _status.families;
        if (!_isFamilies(families_) || families_ <= current) revert InvalidFamilies(families_, current);

        _setFamilies(families_);
        // A new epoch kills every live signature: each was made under the former number.
        _setAttestors(_attestors.list, _status.threshold);
    }

    function _setFamilies(uint32 families_) private {
        _status.families = families_;
        emit FamiliesChanged(families_);
    }

    /// @dev Returns whether a number of families is a power of two, at most MAX_FAMILIES.
    function _isFamilies(uint32 families_) private pure returns (bool) {
        return families_ != 0 && families_ & (families_ - 1) == 0 && families_ <= MAX_FAMILIES;
    }

    /* DAILY LIMIT */

    /// @inheritdoc IDistributorControl
    function announceDailyLimit(uint96 perDay) external onlyOwner {
        uint96 current = _perDay();
        if (!_isHigher(perDay, current)) revert NotARaise(perDay, current);

        uint64 executableAt = uint64(block.timestamp) + DELAY;
        _pendingLimit = LimitAnnouncement(perDay, executableAt);

        emit DailyLimitAnnounced(perDay, executableAt);
    }

    /// @inheritdoc IDistributorControl
    function cancelDailyLimit() external onlyOwner {
        if (_pendingLimit.executableAt == 0) revert NothingAnnounced();

        _cancelDailyLimit();
    }

    /// @inheritdoc IDistributorControl
    function executeDailyLimit() external onlyOwner {
        LimitAnnouncement memory pending = _pendingLimit;
        _requireExecutable(pending.executableAt);

        delete _pendingLimit;
        _limitHistory.ownerSet = pending.perDay;
        _setDailyLimit(pending.perDay);
    }

    /// @inheritdoc IDistributorControl
    function lowerDailyLimit(uint96 perDay) external {
        uint96 current = _perDay();
        if (!_isHigher(current, perDay)) revert NotALowering(perDay, current);

        if (msg.sender == owner()) {
            _limitHistory.ownerSet = perDay;
        } else {
            _requireGuardianMayLower(perDay);
            _limitHistory.guardianLoweredAt = uint64(block.timestamp);
        }
        // An announced raise was weighed against the limit of then.
        if (_pendingLimit.executableAt != 0) _cancelDailyLimit();
        _setDailyLimit(perDay);
    }

    /// @dev Reverts unless a guardian may lower the limit to `perDay` now. The cooldown counts from the last lowering by
    /// any guardian, so that a new guardian cannot go on where the previous one stopped.
    function _requireGuardianMayLower(uint96 perDay) private view {
        if (msg.sender != guardian) revert NotGuardian(msg.sender);
        LimitHistory memory history = _limitHistory;
        // A quarter of no limit is no limit.
        uint96 least = history.ownerSet == 0 ? type(uint96).max : (history.ownerSet - 1) / 4 + 1;
        if (perDay < least) revert BelowQuarter(perDay, least);
        uint64 allowedAt = history.guardianLoweredAt + PAUSE_COOLDOWN;
        if (history.guardianLoweredAt != 0 && block.timestamp < allowedAt) revert LoweringNotAllowedUntil(allowedAt);
    }

    function _cancelDailyLimit() private {
        delete _pendingLimit;
        emit DailyLimitCancelled();
    }

    /// @dev Sets the limit, 0 for none. What was used under the former limit stays used.
    function _setDailyLimit(uint96 perDay) private {
        _limit = DailyLimits.create(perDay, _status.limited ? _limit.usedNow() : 0);
        _status.limited = perDay != 0;

        emit DailyLimitChanged(perDay, msg.sender);
    }

    /// @dev Returns the limit, 0 for none.
    function _perDay() private view returns (uint96) {
        return _status.limited ? _limit.perDay() : 0;
    }

    /// @dev Returns whether limit `a` is above limit `b`. No limit, 0, is above every limit.
    function _isHigher(uint96 a, uint96 b) private pure returns (bool) {
        return b != 0 && (a == 0 || a > b);
    }

    /* WITHDRAWAL */

    /// @inheritdoc IDistributorControl
    function announceWithdrawal(address recipient, uint256 amount) external onlyOwner {
        if (recipient == address(0)) revert ZeroAddress();

        uint64 executableAt = uint64(block.timestamp) + DELAY;
        _pendingWithdrawal = WithdrawalAnnouncement(recipient, executableAt, amount);

        emit WithdrawalAnnounced(recipient, amount, executableAt);
    }

    /// @inheritdoc IDistributorControl
    function cancelWithdrawal() external onlyOwner {
        if (_pendingWithdrawal.executableAt == 0) revert NothingAnnounced();

        delete _pendingWithdrawal;

        emit WithdrawalCancelled();
    }

    /// @dev Deletes the announced withdrawal and returns it. Reverts unless it can be executed now.
    function _takeWithdrawal() internal returns (address recipient, uint256 amount) {
        _requireExecutable(_pendingWithdrawal.executableAt);

        (recipient, amount) = (_pendingWithdrawal.recipient, _pendingWithdrawal.amount);
        delete _pendingWithdrawal;
    }

    /// @dev Reverts unless a change is announced, its delay has passed and its lifetime has not.
    function _requireExecutable(uint64 executableAt) private view {
        if (executableAt == 0) revert NothingAnnounced();
        if (block.timestamp < executableAt) revert TooEarly(executableAt);
        uint64 executableUntil = executableAt + ANNOUNCEMENT_LIFETIME;
        if (block.timestamp > executableUntil) revert AnnouncementExpired(executableUntil);
    }

    /* PAUSES */

    /// @inheritdoc IDistributorControl
    function setGuardian(address guardian_) external onlyOwner {
        _setGuardian(guardian_);
    }

    function _setGuardian(address guardian_) private {
        guardian = guardian_;
        emit GuardianChanged(guardian_);
    }

    /// @inheritdoc IDistributorControl
    function pausePosting(uint64 duration) external {
        uint64 until = _pauseEnd(duration, MAX_POSTING_PAUSE, _status.postingPausedUntil);

        _status.postingPausedUntil = until;

        emit PostingPausedUntil(until);
    }

    /// @inheritdoc IDistributorControl
    function pauseClaims(uint64 duration) external {
        uint64 until = _pauseEnd(duration, MAX_CLAIMS_PAUSE, _status.claimsPausedUntil);

        _status.claimsPausedUntil = until;

        emit ClaimsPausedUntil(until);
    }

    /// @dev Returns the end of a pause that starts now. Reverts unless the guardian may make this pause. The cooldown
    /// counts from the last pause of any guardian, so that a new guardian cannot extend a pause of the previous
    /// guardian.
    function _pauseEnd(uint64 duration, uint64 longest, uint64 lastEnd) private view returns (uint64) {
        if (msg.sender != guardian) revert NotGuardian(msg.sender);
        if (duration == 0 || duration > longest) revert InvalidDuration(duration, longest);
        if (lastEnd != 0 && block.timestamp < lastEnd + PAUSE_COOLDOWN) {
            revert PauseNotAllowedUntil(lastEnd + PAUSE_COOLDOWN);
        }

        return uint64(block.timestamp) + duration;
    }

    /// @inheritdoc IDistributorControl
    function unpausePosting() external onlyOwner {
        if (block.timestamp >= _status.postingPausedUntil) revert NotPaused();

        _status.postingPausedUntil = uint64(block.timestamp);

        emit PostingPausedUntil(uint64(block.timestamp));
    }

    /// @inheritdoc IDistributorControl
    function unpauseClaims() external onlyOwner {
        if (block.timestamp >= _status.claimsPausedUntil) revert NotPaused();

        _status.claimsPausedUntil = uint64(block.timestamp);

        emit ClaimsPausedUntil(uint64(block.timestamp));
    }

    /* VIEWS */

    /// @inheritdoc IDistributorControl
    function attestors() external view returns (address[] memory) {
        return _attestors.list;
    }

    /// @inheritdoc IDistributorControl
    function threshold() external view returns (uint16) {
        return _status.threshold;
    }

    /// @inheritdoc IDistributorControl
    function attestorEpoch() external view returns (uint64) {
        return _status.attestorEpoch;
    }

    /// @inheritdoc IDistributorControl
    function families() external view returns (uint32) {
        return _status.families;
    }

    /// @inheritdoc IDistributorControl
    function dailyLimit() external view returns (uint96 perDay, uint256 left, uint96 ownerSet) {
        if (!_status.limited) return (0, type(uint256).max, 0);
        return (_limit.perDay(), _limit.left(), _limitHistory.ownerSet);
    }

    /// @inheritdoc IDistributorControl
    function pendingDailyLimit() external view returns (uint96 perDay, uint64 executableAt) {
        return (_pendingLimit.perDay, _pendingLimit.executableAt);
    }

    /// @inheritdoc IDistributorControl
    function pendingAttestors() external view returns (address[] memory, uint16, uint64) {
        return (_pendingAttestors.attestors, _pendingAttestors.threshold, _pendingAttestors.executableAt);
    }

    /// @inheritdoc IDistributorControl
    function pendingWithdrawal() external view returns (address, uint256, uint64) {
        return (_pendingWithdrawal.recipient, _pendingWithdrawal.amount, _pendingWithdrawal.executableAt);
    }

    /// @inheritdoc IDistributorControl
    function postingPausedUntil() external view returns (uint64) {
        return _status.postingPausedUntil;
    }

    /// @inheritdoc IDistributorControl
    function claimsPausedUntil() external view returns (uint64) {
        return _status.claimsPausedUntil;
    }
}
