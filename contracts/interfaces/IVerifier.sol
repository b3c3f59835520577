// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title IVerifier
/// @author Guerdon contributors
/// @notice Checks Groth16 proofs of the batch statement under one fixed key.
interface IVerifier {
    /// @notice Returns whether the proof is valid for the public signals.
    /// @dev Never reverts. Returns false if a coordinate is not below q, a signal is not below p or a point is not in
    /// its group, or if A or B is the point at infinity. Warning: proofs are malleable. Anyone can derive another valid proof of the same statement from a
    /// valid proof, so a proof must not be used as an identifier.
    /// @param proof A.x, A.y, B.x.c1, B.x.c0, B.y.c1, B.y.c0, C.x, C.y, in the order of EIP-197.
    /// @param publicSignals oldRoot, newRoot, itemsRoot, challenge, fingerprint.
    function verify(uint256[8] calldata proof, uint256[5] calldata publicSignals) external view returns (bool);

    /// @notice Returns whether all proofs are valid for their public signals, with one merged check.
    /// @dev Never reverts. Returns false for no statements, and whenever `verify` would for any of them. A false
    /// statement passes with a chance below n * 6 / 2^256 a try: PROTOCOL, appendix B.
    /// @param statements For each proof the 8 words of the proof, then its 5 public signals, as for `verify`.
    function verifyMany(uint256[13][] calldata statements) external view returns (bool);
}
