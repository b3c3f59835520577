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

    function _readExisting(bytes calldata records, uint256 opened, uint256 r, uint256 openings, uint256 total, uint256 value)
        private
        pure
        returns (uint256, uint256, uint256)
    {
        unchecked {
            uint256 above = opened;
            for (uint256 offset = records.length; offset != 0;) {
                offset -= EXISTING_BYTES;
                uint256 record = _word(records, offset);
                uint256 slot = record >> 240;
                uint256 delta = uint96(record >> 144);
                if (slot >= above) {
                    if (slot >= opened) revert IDistributor.SlotNotOpen(slot);
                    revert ITreeErrors.SlotsNotAscending(slot);
                }
                if (delta == 0) revert IDistributor.ZeroDelta(slot);
                total += delta;
                uint256 gap = above - slot;
                value = mulmod(value, gap == 1 ? r : _power(r, gap), P) + delta;
                above = slot;
            }
            return (openings, total, mulmod(value, _power(r, above), P));
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
