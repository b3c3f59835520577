// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {Attestation, Batch, Config, IDistributor, Post} from "../interfaces/IDistributor.sol";
import {IDistributorControl} from "../interfaces/IDistributorControl.sol";
import {IPoseidon2, Payout} from "../interfaces/IPoseidon2.sol";
import {IVerifier} from "../interfaces/IVerifier.sol";

/// @title PermissiveDistributor
/// @notice Has the functions, events and views of a Distributor but none of its checks. Tests use it to write logs that
/// an audit must reject.
contract PermissiveDistributor is Ownable, EIP712 {
    IERC20 public immutable token;
    IVerifier public immutable verifier;
    IPoseidon2 public immutable hasher;
    uint8 public immutable levels;
    uint32 public immutable slots;

    uint256 private immutable _zeroRoot;

    address public guardian;
    uint16 public threshold;
    uint32 public families;
    uint64 public attestorEpoch;
    uint64 public postingPausedUntil;
    uint64 public claimsPausedUntil;
    uint128 public committed;
    uint128 public claimedTotal;

    mapping(uint32 bucket => uint64) private _sequence;
    mapping(uint32 bucket => uint32) private _opened;
    mapping(uint32 bucket => mapping(uint64 sequence => uint256)) private _roots;
    mapping(uint32 bucket => mapping(uint16 slot => uint128)) public claimed;
    address[] private _attestors;
    uint96 private _perDay;

    constructor(Config memory config) Ownable(config.owner) EIP712("Guerdon Distributor", "2") {
        (token, verifier, hasher) = (config.token, config.verifier, config.hasher);
        levels = config.levels;
        slots = uint32(1) << (2 * config.levels - 1);
        guardian = config.guardian;
        uint256 node = 0;
        for (uint256 i = 0; i < config.levels; ++i) {
            node = config.hasher.compress(node, node, node, node);
        }
        _zeroRoot = node;
        setFamilies(config.families);
        setAttestors(config.attestors, config.threshold);
        if (config.dailyLimit != 0) setDailyLimit(config.dailyLimit);
    }

    function setFamilies(uint32 families_) public {
        families = families_;
        emit IDistributorControl.FamiliesChanged(families_);
    }

    function setDailyLimit(uint96 perDay) public {
        _perDay = perDay;
        emit IDistributorControl.DailyLimitChanged(perDay, msg.sender);
    }

    function setAttestors(address[] memory attestors_, uint16 threshold_) public {
        (_attestors, threshold) = (attestors_, threshold_);
        emit IDistributorControl.AttestorsChanged(++attestorEpoch, attestors_, threshold_);
    }

    function postBatch(Batch calldata batch, bytes calldata deltas, uint256[8] calldata, Attestation[] calldata)
        external
    {
        _post(batch, deltas);
    }

    function postBatches(Post[] calldata posts) external {
        for (uint256 i = 0; i < posts.length; ++i) {
            _post(posts[i].batch, posts[i].deltas);
        }
    }

    function _post(Batch calldata batch, bytes calldata deltas) private {
        uint256 start = deltas.length < 2 ? 0 : 2 + 14 * uint256(uint16(bytes2(deltas)));
        uint256 openings = deltas.length > start ? (deltas.length - start) / 32 : 0;
        uint256 total = 0;
        for (uint256 i = 2; i + 14 <= start && i + 14 <= deltas.length; i += 14) {
            total += uint96(bytes12(deltas[i + 2:i + 14]));
        }
        for (uint256 i = 0; i < openings; ++i) {
            total += uint96(bytes12(deltas[start + 32 * i + 20:start + 32 * i + 32]));
        }
        postTotal(batch, deltas, total, uint32(openings));
    }

    /// @notice Posts a batch with a total and a number of openings that the caller chooses.
    function postTotal(Batch calldata batch, bytes calldata deltas, uint256 total, uint32 openings) public {
        _sequence[batch.bucket] = batch.sequence;
        _opened[batch.bucket] += openings;
        _roots[batch.bucket][batch.sequence] = batch.newRoot;
        committed += uint128(total);
        emit IDistributor.BatchPosted(
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

    function claim(uint32 bucket, uint16 slot, uint64, address account, uint128 cumulative, uint256[] calldata)
        external
    {
        _pay(bucket, Payout(slot, account, cumulative), account);
    }

    function claimMany(uint32 bucket, uint64, Payout[] calldata payouts, uint256[] calldata) external {
        for (uint256 i = 0; i < payouts.length; ++i) {
            _pay(bucket, payouts[i], payouts[i].account);
        }
    }

    function claimTo(
        uint32 bucket,
        uint16 slot,
        uint64,
        address account,
        uint128 cumulative,
        uint256[] calldata,
        address recipient,
        uint256,
        bytes calldata
    ) external {
        _pay(bucket, Payout(slot, account, cumulative), recipient);
    }

    function _pay(uint32 bucket, Payout memory payout, address recipient) private {
        uint128 amount = payout.cumulative - claimed[bucket][payout.slot];
        claimed[bucket][payout.slot] = payout.cumulative;
        claimedTotal += amount;
        emit IDistributor.Claimed(bucket, payout.slot, payout.account, recipient, amount);
        token.transfer(recipient, amount);
    }

    function withdraw(address recipient, uint256 amount) external {
        emit IDistributorControl.Withdrawn(recipient, amount);
        token.transfer(recipient, amount);
    }

    function buckets(uint32 bucket) external view returns (uint64 sequence, uint32 opened) {
        return (_sequence[bucket], _opened[bucket]);
    }

    function root(uint32 bucket, uint64 sequence) external view returns (uint256) {
        return sequence == 0 ? _zeroRoot : _roots[bucket][sequence];
    }

    function dailyLimit() external view returns (uint96 perDay, uint256 left, uint96 ownerSet) {
        return (_perDay, _perDay == 0 ? type(uint256).max : _perDay, _perDay);
    }

    function attestors() external view returns (address[] memory) {
        return _attestors;
    }
}
