// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title IVerifier
/// @notice Checks Groth16 proofs of the batch statement under one fixed key.
interface IVerifier {
    /// @notice Whether the proof holds for the public signals.
    /// @dev Never reverts: a coordinate not below q, a signal not below p and a point off its group are all just false.
    /// Proofs are malleable: another valid proof of the same statement can be made from one; never use a proof as an identifier.
    /// @param proof A.x, A.y, B.x.c1, B.x.c0, B.y.c1, B.y.c0, C.x, C.y, as EIP-197 orders them.
    /// @param publicSignals oldRoot, newRoot, itemsRoot, challenge, fingerprint.
    function verify(uint256[8] calldata proof, uint256[5] calldata publicSignals) external view returns (bool);
}
