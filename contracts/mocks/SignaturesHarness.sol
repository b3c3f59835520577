// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Signatures} from "../libraries/Signatures.sol";

/// @title SignaturesHarness
/// @notice Makes the library `Signatures` callable from tests.
contract SignaturesHarness {
    /// @notice Returns what the library says of a signature, as an attestor's, as an account's and by its form.
    function judge(address signer, bytes32 digest, bytes calldata signature)
        external
        view
        returns (bool attestors, bool accounts, bool counterfactual)
    {
        return (
            Signatures.isAttestors(signer, digest, signature),
            Signatures.isAccounts(signer, digest, signature),
            Signatures.isCounterfactual(signer, signature)
        );
    }

    /// @notice Returns whether a signature is an attestor's, and the gas that finding out took.
    function measure(address signer, bytes32 digest, bytes calldata signature)
        external
        view
        returns (bool attestors, uint256 spent)
    {
        spent = gasleft();
        attestors = Signatures.isAttestors(signer, digest, signature);
        spent -= gasleft();
    }
}
