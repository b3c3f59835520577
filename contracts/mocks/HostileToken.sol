// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title HostileToken
/// @notice An ERC20 whose `transfer` misbehaves in a way that the test sets.
contract HostileToken is ERC20 {
    enum Behaviour {
        Honest,
        ReturnsFalse,
        ReturnsNothing,
        TakesFee,
        Reenters
    }

    /// @notice Thrown when the recipient of a transfer is blocked.
    error Blocked(address recipient);

    Behaviour public behaviour;
    mapping(address account => bool) public blocked;
    address public target;
    bytes public call;
    bool public callSucceeded;
    bytes public callResult;

    constructor() ERC20("Hostile", "HSTL") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function setBehaviour(Behaviour behaviour_) external {
        behaviour = behaviour_;
    }

    function setBlocked(address account, bool blocked_) external {
        blocked[account] = blocked_;
    }

    /// @notice Sets the call that `transfer` makes under Behaviour.Reenters.
    function setCall(address target_, bytes calldata call_) external {
        (target, call) = (target_, call_);
    }

    function transfer(address to, uint256 value) public override returns (bool) {
        if (blocked[to]) revert Blocked(to);
        if (behaviour == Behaviour.ReturnsFalse) return false;
        if (behaviour == Behaviour.Reenters) (callSucceeded, callResult) = target.call(call);
        super.transfer(to, value);
        if (behaviour == Behaviour.TakesFee) _burn(to, value / 100);
        if (behaviour == Behaviour.ReturnsNothing) {
            assembly ("memory-safe") {
                return(0, 0)
            }
        }
        return true;
    }
}
