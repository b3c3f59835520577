// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDistributor} from "../interfaces/IDistributor.sol";

/// @title Signatures
/// @author Guerdon contributors
/// @custom:security-contact security@example.org is a placeholder. Deployers replace it with their own address.
/// @notice Whose signature counts, by the code of the signer's address:
///
/// - no code: ECDSA;
/// - a delegation (EIP-7702): ECDSA, and for the permission of an account, if that fails, EIP-1271;
/// - other code: EIP-1271.
///
/// A delegated attestor signs with its key only, so that no delegate can accept a signature in a simulation and refuse
/// it in a block.
library Signatures {
    /// @notice Gas that one EIP-1271 call gets.
    uint256 internal constant CHECK_GAS = 500_000;

    /// @dev `isValidSignature(bytes32,bytes)`, which is also the answer that accepts.
    bytes4 private constant EIP1271_MAGIC = 0x1626ba7e;
    /// @dev The last word of a signature in the form of ERC-6492.
    bytes32 private constant ERC6492_SUFFIX = 0x6492649264926492649264926492649264926492649264926492649264926492;
    /// @dev s values above half the order of secp256k1 are the second form of another signature.
    uint256 private constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// @notice Returns whether an attestor has signed a digest.
    function isAttestors(address signer, bytes32 digest, bytes calldata signature) internal view returns (bool) {
        if (signer.code.length == 0 || isDelegated(signer)) return _isEcdsa(signer, digest, signature);
        return _isAccepted(signer, digest, signature);
    }

    /// @notice Returns whether an account has signed a digest.
    function isAccounts(address account, bytes32 digest, bytes calldata signature) internal view returns (bool) {
        if (account.code.length == 0) return _isEcdsa(account, digest, signature);
        if (isDelegated(account) && _isEcdsa(account, digest, signature)) return true;
        return _isAccepted(account, digest, signature);
    }

    /// @notice Returns whether a signature of an address without code has the form of ERC-6492.
    function isCounterfactual(address signer, bytes calldata signature) internal view returns (bool) {
        return signer.code.length == 0 && signature.length >= 32
            && bytes32(signature[signature.length - 32:]) == ERC6492_SUFFIX;
    }

    /// @notice Returns whether an address has delegated its code (EIP-7702): 23 bytes that begin with 0xef0100. No
    /// contract can be created with code that begins with 0xef (EIP-3541).
    function isDelegated(address account) internal view returns (bool delegated) {
        assembly ("memory-safe") {
            if eq(extcodesize(account), 23) {
                extcodecopy(account, 0, 0, 3)
                delegated := eq(shr(232, mload(0)), 0xef0100)
            }
        }
    }

    /// @dev Returns whether 65 bytes r, s, v are the signer's ECDSA signature, with low s and v of 27 or 28.
    function _isEcdsa(address signer, bytes32 digest, bytes calldata signature) private view returns (bool valid) {
        if (signature.length != 65) return false;
        assembly ("memory-safe") {
            let s := calldataload(add(signature.offset, 0x20))
            if iszero(gt(s, HALF_ORDER)) {
                let free := mload(0x40)
                mstore(free, digest)
                mstore(add(free, 0x20), byte(0, calldataload(add(signature.offset, 0x40))))
                calldatacopy(add(free, 0x40), signature.offset, 0x40)
                // The precompile returns nothing for a signature that recovers no address, v of other values included.
                mstore(0, 0)
                pop(staticcall(gas(), 1, free, 0x80, 0, 0x20))
                valid := and(eq(mload(0), signer), iszero(iszero(signer)))
            }
        }
    }

    /// @dev Returns whether the contract at `signer` accepts a signature. The call gets CHECK_GAS, and one word of its
    /// answer is read. Reverts if less gas is left than that: a caller cannot make a signature look invalid by giving
    /// little gas.
    function _isAccepted(address signer, bytes32 digest, bytes calldata signature) private view returns (bool valid) {
        bytes memory data = abi.encodeWithSelector(EIP1271_MAGIC, digest, signature);
        // A call passes on at most 63 of 64 parts of the gas (EIP-150).
        if (gasleft() < CHECK_GAS + CHECK_GAS / 32 + 10_000) revert IDistributor.SignatureGas();
        uint256 answer;
        assembly ("memory-safe") {
            valid := staticcall(CHECK_GAS, signer, add(data, 0x20), mload(data), 0, 0x20)
            valid := and(valid, gt(returndatasize(), 0x1f))
            answer := mload(0)
        }
        return valid && answer == uint256(bytes32(EIP1271_MAGIC));
    }
}
