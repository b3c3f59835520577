// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IVerifier} from "../interfaces/IVerifier.sol";

/// @title Groth16Verifier
/// @author Guerdon contributors
/// @custom:security-contact security@example.org is a placeholder. Deployers replace it with their own address.
/// @notice Verifies Groth16 proofs (eprint 2016/260) over BN254 for five public signals, under the key of the
/// constructor.
/// @dev Checks e(A, B) = e(alpha, beta) * e(ic0 + sum of signal_i * ic_i, gamma) * e(C, delta) with the precompiles of
/// EIP-196 and EIP-197. The key is held in immutables: one compilation serves every key, and auditors can read the key
/// from the deployed code.
contract Groth16Verifier is IVerifier {
    /// @notice Thrown when a point of the key is 0 or not in its group.
    /// @param index Index of the point's first word in the key.
    error InvalidPoint(uint256 index);

    /// @notice Thrown when gamma is delta or its negative. Anyone could forge proofs under such a key.
    error GammaEqualsDelta();

    /// @dev Order of the base field.
    uint256 private constant Q = 0x30644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd47;
    /// @dev Order of the groups, which is the order of the scalar field.
    uint256 private constant P = 0x30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001;

    /// @dev Names the challenge of a merged check, so that no other protocol's hash can be taken for it.
    bytes32 private constant MERGED_TAG = keccak256("Guerdon merged Groth16 v1");

    /// @dev Addresses of the precompiles.
    uint256 private constant EC_ADD = 6;
    uint256 private constant EC_MUL = 7;
    uint256 private constant EC_PAIRING = 8;

    // The key, in the order of the constructor's words.
    uint256 private immutable alphaX;
    uint256 private immutable alphaY;
    uint256 private immutable betaX1;
    uint256 private immutable betaX0;
    uint256 private immutable betaY1;
    uint256 private immutable betaY0;
    uint256 private immutable gammaX1;
    uint256 private immutable gammaX0;
    uint256 private immutable gammaY1;
    uint256 private immutable gammaY0;
    uint256 private immutable deltaX1;
    uint256 private immutable deltaX0;
    uint256 private immutable deltaY1;
    uint256 private immutable deltaY0;
    uint256 private immutable ic0X;
    uint256 private immutable ic0Y;
    uint256 private immutable ic1X;
    uint256 private immutable ic1Y;
    uint256 private immutable ic2X;
    uint256 private immutable ic2Y;
    uint256 private immutable ic3X;
    uint256 private immutable ic3Y;
    uint256 private immutable ic4X;
    uint256 private immutable ic4Y;
    uint256 private immutable ic5X;
    uint256 private immutable ic5Y;

    /// @param key alpha, beta, gamma, delta, ic0 to ic5. Points of G1 are x, y; points of G2 are x.c1, x.c0, y.c1,
    /// y.c0.
    constructor(uint256[26] memory key) {
        _requireG1(key, 0);
        for (uint256 i = 2; i < 14; i += 4) {
            _requireG2(key, i);
        }
        for (uint256 i = 14; i < 26; i += 2) {
            _requireG1(key, i);
        }
        // Points with equal x are equal or opposite. In both cases a forged C can cancel the term of the public
        // signals.
        if (key[6] == key[10] && key[7] == key[11]) revert GammaEqualsDelta();

        alphaX = key[0];
        alphaY = key[1];
        betaX1 = key[2];
        betaX0 = key[3];
        betaY1 = key[4];
        betaY0 = key[5];
        gammaX1 = key[6];
        gammaX0 = key[7];
        gammaY1 = key[8];
        gammaY0 = key[9];
        deltaX1 = key[10];
        deltaX0 = key[11];
        deltaY1 = key[12];
        deltaY0 = key[13];
        ic0X = key[14];
        ic0Y = key[15];
        ic1X = key[16];
        ic1Y = key[17];
        ic2X = key[18];
        ic2Y = key[19];
        ic3X = key[20];
        ic3Y = key[21];
        ic4X = key[22];
        ic4Y = key[23];
        ic5X = key[24];
        ic5Y = key[25];
    }

    /// @inheritdoc IVerifier
    function verify(uint256[8] calldata proof, uint256[5] calldata publicSignals) external view returns (bool) {
        if (!_areCoordinates(proof) || !_areSignals(publicSignals)) return false;

        // Words 0 and 1 hold the sum. Words 2 to 4 hold the next point and scalar, the input of EC_MUL.
        uint256[5] memory work;
        (work[0], work[1]) = (ic0X, ic0Y);
        bool done = _addScaled(work, ic1X, ic1Y, publicSignals[0]);
        done = _addScaled(work, ic2X, ic2Y, publicSignals[1]) && done;
        done = _addScaled(work, ic3X, ic3Y, publicSignals[2]) && done;
        done = _addScaled(work, ic4X, ic4Y, publicSignals[3]) && done;
        done = _addScaled(work, ic5X, ic5Y, publicSignals[4]) && done;
        return done && _pair(proof, work[0], work[1]);
    }

    /// @inheritdoc IVerifier
    /// @dev With weights w_i = c^i it checks that the product of e(w_i * A_i, B_i) over all proofs, times
    /// e(-sum of w_i * alpha, beta) * e(-sum of w_i * L_i, gamma) * e(-sum of w_i * C_i, delta), is 1, where L_i is
    /// ic0 + sum of signal_ij * ic_j. The challenge c hashes every word of every statement: coefficients that are known
    /// before the proofs are fixed would let two forged proofs cancel each other.
    function verifyMany(uint256[13][] calldata statements) external view returns (bool) {
        uint256 n = statements.length;
        if (n == 0) return false;
        uint256 challenge = _challenge(statements);

        uint256[] memory pairs = new uint256[](6 * (n + 3));
        uint256[6] memory sums; // of the weights, and of each signal times its weight, modulo P
        uint256[5] memory sumOfC; // in the form that `_addScaled` takes
        uint256 weight = 1;
        for (uint256 i = 0; i < n; ++i) {
            (uint256[8] calldata proof, uint256[5] calldata signals) = _split(statements[i]);
            if (!_areCoordinates(proof) || !_areSignals(signals)) return false;

            if (!_putScaled(pairs, i, proof, weight)) return false;
            if (!_addScaled(sumOfC, proof[6], proof[7], weight)) return false;
            sums[0] = addmod(sums[0], weight, P);
            for (uint256 j = 0; j < 5; ++j) {
                sums[j + 1] = addmod(sums[j + 1], mulmod(signals[j], weight, P), P);
            }
            weight = mulmod(weight, challenge, P);
        }
        return _putKey(pairs, n, sums, sumOfC) && _pairing(pairs);
    }

    /// @dev Returns the challenge of a merged check.
    function _challenge(uint256[13][] calldata statements) private view returns (uint256 challenge) {
        bytes32 tag = MERGED_TAG;
        assembly ("memory-safe") {
            let data := mload(0x40)
            mstore(data, tag)
            mstore(add(data, 0x20), address())
            mstore(add(data, 0x40), statements.length)
            let size := mul(statements.length, 0x1a0)
            calldatacopy(add(data, 0x60), statements.offset, size)
            challenge := mod(keccak256(data, add(size, 0x60)), P)
        }
    }

    /// @dev Returns the proof and the public signals of a statement.
    function _split(uint256[13] calldata statement)
        private
        pure
        returns (uint256[8] calldata proof, uint256[5] calldata signals)
    {
        assembly ("memory-safe") {
            proof := statement
            signals := add(statement, 0x100)
        }
    }

    /// @dev Returns whether the words of a proof are coordinates, and neither A nor B is the point at infinity.
    function _areCoordinates(uint256[8] calldata proof) private pure returns (bool) {
        for (uint256 i = 0; i < 8; ++i) {
            if (proof[i] >= Q) return false;
        }
        return (proof[0] | proof[1]) != 0 && (proof[2] | proof[3] | proof[4] | proof[5]) != 0;
    }

    /// @dev Returns whether all signals are field elements.
    function _areSignals(uint256[5] calldata signals) private pure returns (bool) {
        for (uint256 i = 0; i < 5; ++i) {
            if (signals[i] >= P) return false;
        }
        return true;
    }

    /// @dev Writes weight * A and B as pair `i`. Returns false if the precompile fails.
    function _putScaled(uint256[] memory pairs, uint256 i, uint256[8] calldata proof, uint256 weight)
        private
        view
        returns (bool done)
    {
        assembly ("memory-safe") {
            let pair := add(add(pairs, 0x20), mul(i, 0xc0))
            calldatacopy(pair, proof, 0x40)
            // The weight lies where B comes next: EC_MUL reads both and writes over A.
            mstore(add(pair, 0x40), weight)
            done := staticcall(gas(), EC_MUL, pair, 0x60, pair, 0x40)
            calldatacopy(add(pair, 0x40), add(proof, 0x40), 0x80)
        }
    }

    /// @dev Writes the three pairs of the key behind those of `n` proofs. Returns false if a precompile fails.
    function _putKey(uint256[] memory pairs, uint256 n, uint256[6] memory sums, uint256[5] memory sumOfC)
        private
        view
        returns (bool done)
    {
        uint256[5] memory alpha;
        done = _addScaled(alpha, alphaX, alphaY, sums[0]);
        uint256[5] memory sum;
        done = _addScaled(sum, ic0X, ic0Y, sums[0]) && done;
        done = _addScaled(sum, ic1X, ic1Y, sums[1]) && done;
        done = _addScaled(sum, ic2X, ic2Y, sums[2]) && done;
        done = _addScaled(sum, ic3X, ic3Y, sums[3]) && done;
        done = _addScaled(sum, ic4X, ic4Y, sums[4]) && done;
        done = _addScaled(sum, ic5X, ic5Y, sums[5]) && done;
        _putNegative(pairs, n, alpha, [betaX1, betaX0, betaY1, betaY0]);
        _putNegative(pairs, n + 1, sum, [gammaX1, gammaX0, gammaY1, gammaY0]);
        _putNegative(pairs, n + 2, sumOfC, [deltaX1, deltaX0, deltaY1, deltaY0]);
    }

    /// @dev Writes -work[0..1] and a point of G2 as pair `i`.
    function _putNegative(uint256[] memory pairs, uint256 i, uint256[5] memory work, uint256[4] memory g2)
        private
        pure
    {
        (pairs[6 * i], pairs[6 * i + 1]) = (work[0], (Q - work[1]) % Q);
        for (uint256 j = 0; j < 4; ++j) {
            pairs[6 * i + 2 + j] = g2[j];
        }
    }

    /// @dev Adds scalar * (x, y) to work[0..1]. Returns false if a precompile fails.
    function _addScaled(uint256[5] memory work, uint256 x, uint256 y, uint256 scalar) private view returns (bool done) {
        (work[2], work[3], work[4]) = (x, y, scalar);
        assembly ("memory-safe") {
            // EC_MUL writes its result over its input, next to the sum: EC_ADD then reads both points as they lie.
            let term := add(work, 0x40)
            done := staticcall(gas(), EC_MUL, term, 0x60, term, 0x40)
            done := and(staticcall(gas(), EC_ADD, work, 0x80, work, 0x40), done)
        }
    }

    /// @dev Returns whether e(-A, B) * e(alpha, beta) * e(sum, gamma) * e(C, delta) = 1. The precompile fails for
    /// points that are not in their group.
    function _pair(uint256[8] calldata proof, uint256 sumX, uint256 sumY) private view returns (bool) {
        uint256[24] memory pairs = [
            proof[0],
            (Q - proof[1]) % Q,
            proof[2],
            proof[3],
            proof[4],
            proof[5],
            alphaX,
            alphaY,
            betaX1,
            betaX0,
            betaY1,
            betaY0,
            sumX,
            sumY,
            gammaX1,
            gammaX0,
            gammaY1,
            gammaY0,
            proof[6],
            proof[7],
            deltaX1,
            deltaX0,
            deltaY1,
            deltaY0
        ];
        return _pairing(pairs, 24);
    }

    /// @dev Returns whether the product of pairings is 1, for the first `words` words. False if the precompile fails.
    function _pairing(uint256[24] memory pairs, uint256 words) private view returns (bool) {
        uint256 first;
        assembly ("memory-safe") {
            first := pairs
        }
        return _productIsOne(first, words);
    }

    /// @dev Returns whether the product of all pairings is 1. False if the precompile fails.
    function _pairing(uint256[] memory pairs) private view returns (bool) {
        uint256 first;
        assembly ("memory-safe") {
            first := add(pairs, 0x20)
        }
        return _productIsOne(first, pairs.length);
    }

    /// @dev Calls EC_PAIRING on `words` words of memory from `first`. Writes over the first one.
    function _productIsOne(uint256 first, uint256 words) private view returns (bool holds) {
        assembly ("memory-safe") {
            holds := staticcall(gas(), EC_PAIRING, first, shl(5, words), first, 0x20)
            holds := and(eq(mload(first), 1), holds)
        }
    }

    /// @dev Reverts unless the point at `index` of the key is in G1 and not 0.
    function _requireG1(uint256[26] memory key, uint256 index) private view {
        (uint256 x, uint256 y) = (key[index], key[index + 1]);
        uint256[5] memory work;
        // The sum with the point at infinity fails for coordinates that are not on the curve.
        bool valid = (x | y) != 0 && _addScaled(work, x, y, 1);
        if (!valid) revert InvalidPoint(index);
    }

    /// @dev Reverts unless the point at `index` of the key is in G2 and not 0.
    function _requireG2(uint256[26] memory key, uint256 index) private view {
        uint256[24] memory pairs;
        uint256 any = 0;
        for (uint256 i = 0; i < 4; ++i) {
            any |= pairs[2 + i] = key[index + i];
        }
        // The pairing with the point at infinity is 1 for every point of the group. The precompile fails for other
        // points.
        bool valid = any != 0 && _pairing(pairs, 6);
        if (!valid) revert InvalidPoint(index);
    }
}
