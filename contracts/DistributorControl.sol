// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";

import {IDistributor} from "./interfaces/IDistributor.sol";
import {Attestations} from "./libraries/Attestations.sol";

/// @title DistributorControl
/// @author Guerdon contributors
/// @custom:security-contact security@example.org is a placeholder. Deployers replace it with their own address.
/// @notice The powers over a Distributor: the set of attestors, the owner's delayed changes and the guardian's pauses.
/// `IDistributor` documents every function, event and error.
abstract contract DistributorControl is IDistributor, Ownable2Step {
    using Attestations for Attestations.Set;

    /// @dev All fields share one word, so posting and claiming read storage once.
    /// @param attestorEpoch Epoch of the current attestors.
    /// @param threshold Number of attestors that must sign a batch.
    /// @param postingPausedUntil End of the last posting pause, in Unix seconds.
    /// @param claimsPausedUntil End of the last claims pause, in Unix seconds.
    struct Status {
        uint64 attestorEpoch;
        uint16 threshold;
        uint64 postingPausedUntil;
        uint64 claimsPausedUntil;
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

    /// @inheritdoc IDistributor
    uint64 public constant DELAY = 7 days;
    /// @inheritdoc IDistributor
    uint64 public constant ANNOUNCEMENT_LIFETIME = 14 days;
    /// @inheritdoc IDistributor
    uint64 public constant MAX_POSTING_PAUSE = 14 days;
    /// @inheritdoc IDistributor
    uint64 public constant MAX_CLAIMS_PAUSE = 7 days;
    /// @inheritdoc IDistributor
    uint64 public constant PAUSE_COOLDOWN = 30 days;
    /// @inheritdoc IDistributor
    uint256 public constant MAX_ATTESTORS = Attestations.MAX_ATTESTORS;

    /// @inheritdoc IDistributor
    address public guardian;

    Status internal _status;
    Attestations.Set internal _attestors;
    AttestorsAnnouncement private _pendingAttestors;
    WithdrawalAnnouncement private _pendingWithdrawal;

    constructor(address owner_, address guardian_, address[] memory attestors_, uint16 threshold_) Ownable(owner_) {
        Attestations.validate(attestors_, threshold_);
        _setGuardian(guardian_);
        _setAttestors(attestors_, threshold_);
    }

    /* ATTESTORS */

    /// @inheritdoc IDistributor
    function announceAttestors(address[] calldata attestors_, uint16 threshold_) external onlyOwner {
        Attestations.validate(attestors_, threshold_);

        uint64 executableAt = uint64(block.timestamp) + DELAY;
        _pendingAttestors = AttestorsAnnouncement(attestors_, threshold_, executableAt);

        emit AttestorsAnnounced(attestors_, threshold_, executableAt);
    }

    /// @inheritdoc IDistributor
    function cancelAttestors() external onlyOwner {
        if (_pendingAttestors.executableAt == 0) revert NothingAnnounced();

        delete _pendingAttestors;

        emit AttestorsCancelled();
    }

    /// @inheritdoc IDistributor
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

    /* WITHDRAWAL */

    /// @inheritdoc IDistributor
    function announceWithdrawal(address recipient, uint256 amount) external onlyOwner {
        if (recipient == address(0)) revert ZeroAddress();

        uint64 executableAt = uint64(block.timestamp) + DELAY;
        _pendingWithdrawal = WithdrawalAnnouncement(recipient, executableAt, amount);

        emit WithdrawalAnnounced(recipient, amount, executableAt);
    }

    /// @inheritdoc IDistributor
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

    /// @inheritdoc IDistributor
    function setGuardian(address guardian_) external onlyOwner {
        _setGuardian(guardian_);
    }

    function _setGuardian(address guardian_) private {
        guardian = guardian_;
        emit GuardianChanged(guardian_);
    }

    /// @inheritdoc IDistributor
    function pausePosting(uint64 duration) external {
        uint64 until = _pauseEnd(duration, MAX_POSTING_PAUSE, _status.postingPausedUntil);

        _status.postingPausedUntil = until;

        emit PostingPausedUntil(until);
    }

    /// @inheritdoc IDistributor
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

    /// @inheritdoc IDistributor
    function unpausePosting() external onlyOwner {
        if (block.timestamp >= _status.postingPausedUntil) revert NotPaused();

        _status.postingPausedUntil = uint64(block.timestamp);

        emit PostingPausedUntil(uint64(block.timestamp));
    }

    /// @inheritdoc IDistributor
    function unpauseClaims() external onlyOwner {
        if (block.timestamp >= _status.claimsPausedUntil) revert NotPaused();

        _status.claimsPausedUntil = uint64(block.timestamp);

        emit ClaimsPausedUntil(uint64(block.timestamp));
    }

    /* VIEWS */

    /// @inheritdoc IDistributor
    function attestors() external view returns (address[] memory) {
        return _attestors.list;
    }

    /// @inheritdoc IDistributor
    function threshold() external view returns (uint16) {
        return _status.threshold;
    }

    /// @inheritdoc IDistributor
    function attestorEpoch() external view returns (uint64) {
        return _status.attestorEpoch;
    }

    /// @inheritdoc IDistributor
    function pendingAttestors() external view returns (address[] memory, uint16, uint64) {
        return (_pendingAttestors.attestors, _pendingAttestors.threshold, _pendingAttestors.executableAt);
    }

    /// @inheritdoc IDistributor
    function pendingWithdrawal() external view returns (address, uint256, uint64) {
        return (_pendingWithdrawal.recipient, _pendingWithdrawal.amount, _pendingWithdrawal.executableAt);
    }

    /// @inheritdoc IDistributor
    function postingPausedUntil() external view returns (uint64) {
        return _status.postingPausedUntil;
    }

    /// @inheritdoc IDistributor
    function claimsPausedUntil() external view returns (uint64) {
        return _status.claimsPausedUntil;
    }
}
