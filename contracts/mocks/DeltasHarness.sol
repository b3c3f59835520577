// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Deltas} from "../libraries/Deltas.sol";

/// @title DeltasHarness
/// @notice Makes the library `Deltas` callable from tests.
contract DeltasHarness {
    /// @notice Returns what `Deltas.read` returns.
    function read(bytes calldata deltas, uint256 opened, uint256 slots, uint256 r)
        external
        pure
        returns (uint256 openings, uint256 total, uint256 fingerprint)
    {
        return Deltas.read(deltas, opened, slots, r);
    }
}
