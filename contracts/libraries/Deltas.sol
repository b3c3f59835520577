// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDistributor} from "../interfaces/IDistributor.sol";
import {IDistributorControl} from "../interfaces/IDistributorControl.sol";
import {ITreeErrors} from "../interfaces/IPoseidon2.sol";

/// @title Deltas
/// @author Guerdon contributors
/// @custom:security-contact security@example.org is a placeholder. Deployers replace it with their own address.
/// @notice Reads the amounts that a batch adds to slots. `IDistributor.postBatch` defines the format.
library Deltas {
    /// @notice The BN254 scalar field order.
    uint256 internal constant P = 0x30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001;

    /// @dev Sizes of the count, of an existing slot's record and of an opening's record.
    uint256 private constant COUNT_BYTES = 2;
    uint256 private constant EXISTING_BYTES = 14;
    uint256 private constant OPENING_BYTES = 32;
    /// @dev Records that lie at most this many slots apart are read with a table of powers.
    uint256 private constant NEAR = 32;
    /// @dev So few records are read without the table, which would cost more than it saves.
    uint256 private constant FEW = 4;
    /// @dev The maximum delta, 2^96 - 1.
    uint256 private constant MAX_DELTA = 0xffffffffffffffffffffffff;
    /// @dev Two neighbouring records take 28 bytes. Their two slot numbers each fall by 2 from one pair to the pair
    /// before. This is that difference, 2 * 2^208 + 2 * 2^96, in a number of 28 bytes.
    uint256 private constant TWO_SLOTS = 0x20000000000000000000000000002000000000000000000000000;

    /// @dev What the records that were read so far add up to. Both readers go from the last record to the first and use
    /// Horner's rule.
    /// @param above The slot of the lowest record so far. Before the first, the number of occupied slots.
    /// @param total Sum of the deltas, as an integer.
    /// @param value The terms of all records so far, divided by r^above.
    struct Sum {
        uint256 above;
        uint256 total;
        uint256 value;
    }

    /// @notice Checks every rule of the format and sums up the deltas of a bucket.
    /// @param deltas The records.
    /// @param opened Number of occupied slots of the bucket.
    /// @param slots Number of slots of a bucket.
    /// @param r The challenge, below P.
    /// @return openings Number of accounts that the batch opens.
    /// @return total Sum of the deltas, as an integer.
    /// @return fingerprint Modulo P, the sum of delta_s * r^s over all records and of address_s * r^(slots + s) over
    /// the openings, where s is the slot of the record.
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

        Sum memory sum = Sum(opened, 0, 0);
        if (openings != 0) _readOpenings(deltas[start:], slots, r, sum);
        _readExisting(deltas[COUNT_BYTES:start], r, sum);
        return (openings, sum.total, mulmod(sum.value, _power(r, sum.above), P));
    }

    // A product modulo P plus a delta or an address stays below 2^256. The next product reduces the sum.

    /// @dev Reads the records of openings. They leave `sum.above` as it is: the first opening's slot.
    function _readOpenings(bytes calldata records, uint256 slots, uint256 r, Sum memory sum) private pure {
        unchecked {
            uint256 accounts;
            uint256 value = 0;
            uint256 total = 0;
            for (uint256 offset = records.length; offset != 0;) {
                offset -= OPENING_BYTES;
                uint256 record = _word(records, offset);
                uint256 account = record >> 96;
                uint256 delta = uint96(record);
                if (account == 0) revert IDistributorControl.ZeroAddress();
                if (delta == 0) revert IDistributor.ZeroDelta(sum.above + offset / OPENING_BYTES);
                total += delta;
                accounts = mulmod(accounts, r, P) + account;
                value = mulmod(value, r, P) + delta;
            }
            sum.total = total;
            sum.value = addmod(mulmod(accounts, _power(r, slots), P), value, P);
        }
    }

    /// @dev Reads the records of existing slots, after the openings.
    function _readExisting(bytes calldata records, uint256 r, Sum memory sum) private pure {
        unchecked {
            uint256 opened = sum.above;
            uint256 left = _readRun(records, r, sum);
            bool many = left > FEW * EXISTING_BYTES;
            uint256[] memory powers = many ? _powers(r) : new uint256[](0);
            while (true) {
                if (many) left = _readNear(records, left, powers, sum);
                if (left == 0) return;

                // The table does not reach the next record, or the record breaks a rule.
                left -= EXISTING_BYTES;
                uint256 record = _word(records, left);
                uint256 slot = record >> 240;
                uint256 delta = uint96(record >> 144);
                if (slot >= opened) revert IDistributor.SlotNotOpen(slot);
                if (slot >= sum.above) revert ITreeErrors.SlotsNotAscending(slot);
                if (delta == 0) revert IDistributor.ZeroDelta(slot);
                sum.total += delta;
                sum.value = mulmod(sum.value, _power(r, sum.above - slot), P) + delta;
                sum.above = slot;
            }
        }
    }

    /// @dev Returns the table of r^1 to r^NEAR modulo P.
    function _powers(uint256 r) private pure returns (uint256[] memory powers) {
        assembly ("memory-safe") {
            powers := mload(0x40)
            mstore(powers, NEAR)
            let end := add(powers, mul(NEAR, 0x20))
            let power := r
            for { let at := powers } lt(at, end) {} {
                at := add(at, 0x20)
                mstore(at, power)
                power := mulmod(power, r, P)
            }
            mstore(0x40, add(end, 0x20))
        }
    }

    /// @dev Reads records backwards as long as each lies at most NEAR slots below the record before and its delta is not
    /// 0. Stops at the first one that does not qualify and leaves that one to the caller.
    /// @param left Number of bytes of `records` that are not read yet.
    /// @return Number of bytes that are left now.
    function _readNear(bytes calldata records, uint256 left, uint256[] memory powers, Sum memory sum)
        private
        pure
        returns (uint256)
    {
        assembly ("memory-safe") {
            let above := mload(sum)
            let total := mload(add(sum, 0x20))
            let value := mload(add(sum, 0x40))
            for {} left {} {
                let record := calldataload(add(records.offset, sub(left, EXISTING_BYTES)))
                let delta := and(shr(144, record), MAX_DELTA)
                let gap := sub(above, shr(240, record))
                // gap - 1 wraps around for a gap of 0, and a slot above `above` leaves a huge gap.
                if or(iszero(delta), gt(sub(gap, 1), sub(NEAR, 1))) { break }
                value := add(mulmod(value, mload(add(powers, shl(5, gap))), P), delta)
                total := add(total, delta)
                above := sub(above, gap)
                left := sub(left, EXISTING_BYTES)
            }
            mstore(sum, above)
            mstore(add(sum, 0x20), total)
            mstore(add(sum, 0x40), value)
        }
        return left;
    }

    /// @dev Reads records backwards, two at a time, as long as their slots are the two slots below `sum.above` and both
    /// deltas are not 0. In a full batch these are all records. Stops at the first pair that does not qualify and
    /// leaves that pair to the caller.
    /// @return left Number of bytes of `records` that are not read.
    function _readRun(bytes calldata records, uint256 r, Sum memory sum) private pure returns (uint256 left) {
        assembly ("memory-safe") {
            let above := mload(sum)
            let total := mload(add(sum, 0x20))
            let value := mload(add(sum, 0x40))
            // A pair of records is a number of 28 bytes, from high to low: uint16 slot, uint96 delta (the lower slot),
            // uint16 slot, uint96 delta (the upper slot). `pair` is the calldata offset of the next pair, which lies in
            // `records` if the offset is above `last`. `pair` cannot fall below 0: in front of `records` there are at
            // least 38 bytes, the selector, the length of `deltas` and the count.
            let last := sub(records.offset, 1)
            let pair := sub(add(records.offset, records.length), 28)
            // The pair that is expected, with deltas of 0: slots above - 2 and above - 1.
            let expected := add(shl(208, sub(above, 2)), shl(96, sub(above, 1)))
            // Shifting by 32 bits keeps the upper 28 bytes of the word. If both slots are as expected, the difference
            // holds only the two deltas, 14 bytes each.
            let both := sub(shr(32, calldataload(pair)), expected)
            let lower := shr(112, both)
            let upper := and(both, 0xffffffffffffffffffffffffffff)
            // A wrong slot leaves a difference at or above 2^96 in `lower` or `upper`, because the bits of the slot lie
            // above the bits of the delta. A delta of 0 wraps around to 2^256 - 1. One comparison thus checks
            // 1 <= delta <= MAX_DELTA and the slot; `sub(lower, 1) < MAX_DELTA` means lower <= MAX_DELTA.
            for {} and(gt(pair, last), and(lt(sub(lower, 1), MAX_DELTA), lt(sub(upper, 1), MAX_DELTA))) {} {
                // Two steps of Horner's rule, the upper slot first. The inner sum is reduced by the outer mulmod.
                value := add(mulmod(add(mulmod(value, r, P), upper), r, P), lower)
                total := add(total, add(lower, upper))
                // Load the pair before, whose slots are lower by 2.
                pair := sub(pair, 28)
                expected := sub(expected, TWO_SLOTS)
                both := sub(shr(32, calldataload(pair)), expected)
                lower := shr(112, both)
                upper := and(both, 0xffffffffffffffffffffffffffff)
            }
            // The pair at `pair` was not read: its 28 bytes are left too.
            left := add(sub(pair, records.offset), 28)
            mstore(sum, sub(above, div(sub(records.length, left), EXISTING_BYTES)))
            mstore(add(sum, 0x20), total)
            mstore(add(sum, 0x40), value)
        }
    }

    /// @dev Returns base^exponent modulo P, by repeated squaring.
    function _power(uint256 base, uint256 exponent) private pure returns (uint256 result) {
        result = 1;
        for (; exponent != 0; exponent >>= 1) {
            if (exponent & 1 != 0) result = mulmod(result, base, P);
            base = mulmod(base, base, P);
        }
    }

    /// @dev Returns the 32 bytes at `offset`, which may reach beyond the end of `data`.
    function _word(bytes calldata data, uint256 offset) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(add(data.offset, offset))
        }
    }
}
