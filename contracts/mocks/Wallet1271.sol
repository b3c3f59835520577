// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @title Wallet1271
/// @notice A contract wallet. It accepts its holder's signatures by EIP-1271 and makes calls for its holder.
contract Wallet1271 is IERC1271 {
    /// @notice Thrown when a caller other than the holder asks for a call.
    error NotHolder(address caller);

    address public immutable holder;

    constructor(address holder_) {
        holder = holder_;
    }

    /// @inheritdoc IERC1271
    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        (address signer,,) = ECDSA.tryRecoverCalldata(hash, signature);
        return signer == holder ? IERC1271.isValidSignature.selector : bytes4(0xffffffff);
    }

    /// @notice Calls `target`, as `execTransaction` of a multisig does. Holder only.
    function execute(address target, bytes calldata data) external returns (bytes memory result) {
        if (msg.sender != holder) revert NotHolder(msg.sender);
        bool success;
        (success, result) = target.call(data);
        if (!success) {
            assembly ("memory-safe") {
                revert(add(result, 0x20), mload(result))
            }
        }
    }
}
