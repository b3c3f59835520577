// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDistributor} from "../interfaces/IDistributor.sol";
import {ITreeErrors} from "../interfaces/IPoseidon2.sol";

/// @title Deltas
/// @notice Reads what a batch adds to each touched slot; the format is `IDistributor.postBatch`'s.
library Deltas {
    /// @notice The BN254 scalar field order.
    uint256 internal constant P = 0x30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001;

    uint256 private constant COUNT_BYTES = 2;
    uint256 private constant EXISTING_BYTES = 14;
    uint256 private constant OPENING_BYTES = 32;
    uint256 private constant MAX_DELTA = 0xffffffffffffffffffffffff;
    /// @dev What the slots of two neighbouring records, as they stand in 28 bytes, fall by from one pair to the next.
    uint256 private constant TWO_SLOTS = 0x20000000000000000000000000002000000000000000000000000;

    /// @notice Checks every rule of the format and sums up, for a bucket with `opened` of `slots` slots in use.
    /// @param r The challenge, below P.
    /// @return openings Number of accounts opened.
    /// @return total Sum of the deltas, as an integer.
    /// @return fingerprint Sum of delta_s * r^s and, over openings, of address_s * r^(slots + s), mod P.
    function read(bytes calldata deltas, uint256 opened, uint256 slots, uint256 r)
        internal
        pure
        returns (uint256 openings, uint256 total, uint256 fingerprint)
    {
        if (deltas.length <= COUNT_BYTES) revert IDistributor.DeltasLength();
        uint256 start = COUNT_BYTES + uint256(uint16(bytes2(deltas))) * EXISTING_BYTES;
        if (deltas.length < start || (deltas.length - start) % OPENING_BYTES != 0) revert IDistributor.DeltasLength();
        openings = (deltas.length - start) / OPENING_BYTES;
        if (opened + openings > slots) revert IDistributor.BucketFull();

        (total, fingerprint) = _readOpenings(deltas[start:], opened, slots, r);
        return _readExisting(deltas[COUNT_BYTES:start], opened, r, openings, total, fingerprint);
    }

    // Both readers go backwards and evaluate by Horner: the value so far is that of all higher powers, over the power reached. A product mod
    // P and a delta or an address cannot overflow; the next product reduces the sum.

    function _readOpenings(bytes calldata records, uint256 opened, uint256 slots, uint256 r)
        private
        pure
        returns (uint256 total, uint256 value)
    {
        unchecked {
            uint256 accounts;
            for (uint256 offset = records.length; offset != 0;) {
                offset -= OPENING_BYTES;
                uint256 record = _word(records, offset);
                uint256 account = record >> 96;
                uint256 delta = uint96(record);
                if (account == 0) revert IDistributor.ZeroAddress();
                if (delta == 0) revert IDistributor.ZeroDelta(opened + offset / OPENING_BYTES);
                total += delta;
                accounts = mulmod(accounts, r, P) + account;
                value = mulmod(value, r, P) + delta;
            }
            if (accounts != 0) value = addmod(mulmod(accounts, _power(r, slots), P), value, P);
        }
    }

    function _readExisting(
        bytes calldata records,
        uint256 opened,
        uint256 r,
        uint256 openings,
        uint256 total,
        uint256 value
    ) private pure returns (uint256, uint256, uint256) {
        unchecked {
            uint256 above = opened;
            uint256 left = records.length;
            while (left != 0) {
                (left, above, total, value) = _readRun(records, left, above, r, total, value);
                if (left == 0) break;
                // Not the slot next below, or no delta.
                left -= EXISTING_BYTES;
                uint256 record = _word(records, left);
                uint256 slot = record >> 240;
                uint256 delta = uint96(record >> 144);
                if (slot >= opened) revert IDistributor.SlotNotOpen(slot);
                if (slot >= above) revert ITreeErrors.SlotsNotAscending(slot);
                if (delta == 0) revert IDistributor.ZeroDelta(slot);
                total += delta;
                value = mulmod(value, _power(r, above - slot), P) + delta;
                above = slot;
            }
            return (openings, total, mulmod(value, _power(r, above), P));
        }
    }

    /// @dev Reads records backwards, two at a time, while they are of the two slots next below and their deltas are not 0: in a full batch, all of
    /// them. Two records less the slots that they should have are two deltas, each above 0 and below 2^96; anything else ends the run.
    function _readRun(bytes calldata records, uint256 left, uint256 above, uint256 r, uint256 total, uint256 value)
        private
        pure
        returns (uint256, uint256, uint256, uint256)
    {
        uint256 before = left;
        assembly ("memory-safe") {
            let last := sub(records.offset, 1)
            let pair := sub(add(records.offset, left), 28)
            let expected := add(shl(208, sub(above, 2)), shl(96, sub(above, 1)))
            let both := sub(shr(32, calldataload(pair)), expected)
            let lower := shr(112, both)
            let upper := and(both, 0xffffffffffffffffffffffffffff)
            for {} and(gt(pair, last), and(lt(sub(lower, 1), MAX_DELTA), lt(sub(upper, 1), MAX_DELTA))) {} {
                value := add(mulmod(add(mulmod(value, r, P), upper), r, P), lower)
                total := add(total, add(lower, upper))
                pair := sub(pair, 28)
                expected := sub(expected, TWO_SLOTS)
                both := sub(shr(32, calldataload(pair)), expected)
                lower := shr(112, both)
                upper := and(both, 0xffffffffffffffffffffffffffff)
            }
            left := add(sub(pair, records.offset), 28)
        }
        unchecked {
            return (left, above - (before - left) / EXISTING_BYTES, total, value);
        }
    }

    function _power(uint256 base, uint256 exponent) private pure returns (uint256 result) {
        result = 1;
        for (; exponent != 0; exponent >>= 1) {
            if (exponent & 1 != 0) result = mulmod(result, base, P);
            base = mulmod(base, base, P);
        }
    }

    function _word(bytes calldata data, uint256 offset) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(add(data.offset, offset))
        }
    }
}
