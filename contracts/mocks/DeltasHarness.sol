// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Deltas} from "../libraries/Deltas.sol";

/// @title DeltasHarness
/// @notice The library `Deltas` on its own.
contract DeltasHarness {
    /// @notice As `Deltas.read`.
    function read(bytes calldata deltas, uint256 opened, uint256 slots, uint256 r)
        external
        pure
        returns (uint256 openings, uint256 total, uint256 fingerprint)
    {
        return Deltas.read(deltas, opened, slots, r);
    }
}
