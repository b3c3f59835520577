// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @notice A daily limit in one word. From high to low: uint40 Unix seconds of the last change, uint120 what was used at
/// that time, uint96 base units that may be committed in a day.
type Limit is uint256;

using DailyLimits for Limit global;

/// @title DailyLimits
/// @author Guerdon contributors
/// @custom:security-contact security@example.org is a placeholder. Deployers replace it with their own address.
/// @notice A leaky bucket: what is used of a daily limit refills evenly over a day.
/// @dev What is used is counted in base units times the seconds of a day. In this unit a second refills exactly
/// `perDay`: nothing is rounded, so that no sequence of posts gains or loses a unit. It is at most 2^96 * 86400, below
/// 2^113.
library DailyLimits {
    uint256 internal constant DAY = 1 days;

    /// @notice Returns a limit of which `used` is used now, in base units times DAY.
    function create(uint96 perDay_, uint256 used) internal view returns (Limit) {
        return Limit.wrap(block.timestamp << 216 | used << 96 | perDay_);
    }

    /// @notice Returns the base units that may be committed in a day.
    function perDay(Limit limit) internal pure returns (uint96) {
        return uint96(Limit.unwrap(limit));
    }

    /// @notice Returns what is used now, in base units times DAY.
    function usedNow(Limit limit) internal view returns (uint256) {
        uint256 refilled = uint256(limit.perDay()) * (block.timestamp - (Limit.unwrap(limit) >> 216));
        return Math.saturatingSub(uint120(Limit.unwrap(limit) >> 96), refilled);
    }

    /// @notice Returns how much can be committed now, in base units.
    function left(Limit limit) internal view returns (uint256) {
        // After a lowering more may be used than the limit allows.
        return Math.saturatingSub(uint256(limit.perDay()) * DAY, limit.usedNow()) / DAY;
    }
}
