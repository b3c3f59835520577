// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TestToken} from "./TestToken.sol";

/// @title TestTokenDecimals
/// @notice A TestToken with other than 18 decimals. For demos and tests only.
contract TestTokenDecimals is TestToken {
    uint8 private immutable DECIMALS;

    constructor(string memory name_, string memory symbol_, uint8 decimals_) TestToken(name_, symbol_) {
        DECIMALS = decimals_;
    }

    /// @notice How many decimal digits a whole token has.
    function decimals() public view override returns (uint8) {
        return DECIMALS;
    }
}
