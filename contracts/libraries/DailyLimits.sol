// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title DailyLimits
/// @author Guerdon contributors
/// @custom:security-contact security@example.org is a placeholder. Deployers replace it with their own address.
/// @notice A leaky bucket: what is used of a daily limit refills evenly over a day.
/// @dev Amounts are counted in base units times the seconds of a day. In this unit a second refills exactly `perDay`:
/// nothing is rounded, so that no sequence of posts gains or loses a unit.
library DailyLimits {
    /// @dev One word. `used` is at most 2^96 * 86400, below 2^113.
    /// @param perDay Base units that may be committed in a day.
    /// @param used What was used at `updatedAt`, in base units times DAY.
    /// @param updatedAt Unix seconds of the last change.
    struct Limit {
        uint96 perDay;
        uint120 used;
        uint40 updatedAt;
    }

    uint256 internal constant DAY = 1 days;

    /// @notice Returns what is used now, in base units times DAY.
    function usedNow(Limit memory limit) internal view returns (uint256) {
        uint256 refilled = uint256(limit.perDay) * (block.timestamp - limit.updatedAt);
        return Math.saturatingSub(limit.used, refilled);
    }

    /// @notice Returns how much can be committed now, in base units.
    function left(Limit memory limit) internal view returns (uint256) {
        // After a lowering more may be used than the limit allows.
        return Math.saturatingSub(uint256(limit.perDay) * DAY, usedNow(limit)) / DAY;
    }

    /// @notice Returns the limit under another `perDay`. What is used stays used.
    function withPerDay(Limit memory limit, uint96 perDay) internal view returns (Limit memory) {
        return Limit(perDay, uint120(usedNow(limit)), uint40(block.timestamp));
    }
}
