// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {Vectors} from "./Vectors.sol";

/// @title MerkleTest
/// @notice The trees of interactions against tests/vectors/merkle.json and OpenZeppelin's MerkleProof.
contract MerkleTest is Vectors {
    /// @notice Each leaf is the double keccak256 of (item index, interaction hash, account, item amount), and its proof
    /// leads to the root. The proof does not hold for a changed leaf.
    function test_leavesAndProofs() external view {
        string memory json = _read("merkle.json");
        uint256 trees = _count(json, "$");
        require(trees >= 7, "too few trees");

        for (uint256 i = 0; i < trees; ++i) {
            string memory leaves = string.concat(_at("$", i), ".leaves");
            bytes32 root = vm.parseJsonBytes32(json, string.concat(_at("$", i), ".root"));
            uint256 count = _count(json, leaves);
            for (uint256 j = 0; j < count; ++j) {
                _checkLeaf(json, _at(leaves, j), root);
            }
        }
    }

    function _checkLeaf(string memory json, string memory leaf, bytes32 root) private pure {
        string memory value = string.concat(leaf, ".value");
        bytes32 hash = _hash(
            uint32(vm.parseJsonUint(json, _at(value, 0))),
            vm.parseJsonBytes32(json, _at(value, 1)),
            vm.parseJsonAddress(json, _at(value, 2)),
            uint96(vm.parseJsonUint(json, _at(value, 3)))
        );
        vm.assertEq(hash, vm.parseJsonBytes32(json, string.concat(leaf, ".hash")), leaf);

        bytes32[] memory proof = vm.parseJsonBytes32Array(json, string.concat(leaf, ".proof"));
        require(!MerkleProof.verify(proof, root, ~hash), string.concat(leaf, ": a changed leaf is proven"));
        require(MerkleProof.verify(proof, root, hash), string.concat(leaf, ": the proof does not hold"));
    }

    function _hash(uint32 index, bytes32 interaction, address account, uint96 amount) private pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(index, interaction, account, amount))));
    }
}
