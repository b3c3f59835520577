// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDistributor} from "../interfaces/IDistributor.sol";
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
    /// @dev The maximum delta, 2^96 - 1.
    uint256 private constant MAX_DELTA = 0xffffffffffffffffffffffff;
    /// @dev Two neighbouring records take 28 bytes. Their two slot numbers each fall by 2 from one pair to the pair
    /// before. This is that difference, 2 * 2^208 + 2 * 2^96, in a number of 28 bytes.
    uint256 private constant TWO_SLOTS = 0x20000000000000000000000000002000000000000000000000000;

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

        (total, fingerprint) = _readOpenings(deltas[start:], opened, slots, r);
        return _readExisting(deltas[COUNT_BYTES:start], opened, r, openings, total, fingerprint);
    }

    // Both readers go from the last record to the first and use Horner's rule: the value holds the terms of all higher
    // slots, divided by the power of r that is reached. A product modulo P plus a delta or an address stays below
    // 2^256. The next product reduces the sum.

    /// @dev Reads the records of openings. `value` is divided by r^opened.
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

    /// @dev Reads the records of existing slots, after the openings. `value` comes in divided by r^opened.
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

                // The run ended: one record is left, or a record of the pair skips slots or breaks a rule.
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

    /// @dev Reads records backwards, two at a time, as long as their slots are the two slots below `above` and both
    /// deltas are not 0. In a full batch these are all records. Returns at the first pair that does not qualify and
    /// leaves that pair to the caller.
    /// @param left Number of bytes of `records` that are not read yet.
    /// @param above The slot above the next record.
    function _readRun(bytes calldata records, uint256 left, uint256 above, uint256 r, uint256 total, uint256 value)
        private
        pure
        returns (uint256, uint256, uint256, uint256)
    {
        uint256 before = left;
        assembly ("memory-safe") {
            // A pair of records is a number of 28 bytes, from high to low: uint16 slot, uint96 delta (the lower slot),
            // uint16 slot, uint96 delta (the upper slot). `pair` is the calldata offset of the next pair, which lies in
            // `records` if the offset is above `last`. `pair` cannot fall below 0: in front of `records` there are at
            // least 38 bytes, the selector, the length of `deltas` and the count.
            let last := sub(records.offset, 1)
            let pair := sub(add(records.offset, left), 28)
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
        }
        unchecked {
            return (left, above - (before - left) / EXISTING_BYTES, total, value);
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
