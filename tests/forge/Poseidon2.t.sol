// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IPoseidon2, ITreeErrors, Payout} from "contracts/interfaces/IPoseidon2.sol";
import {Vectors} from "./Vectors.sol";

/// @title Poseidon2Test
/// @notice H4 and bucket trees against tests/vectors/poseidon2.json and tree.json.
contract Poseidon2Test is Vectors {
    IPoseidon2 private _hasher;

    function setUp() external {
        _hasher = IPoseidon2(_deploy("Poseidon2", ""));
    }

    /// @notice An element that is not below the field order is refused.
    function test_elementsOutsideTheFieldAreRefused() external {
        uint256 p = vm.parseJsonUint(_read("poseidon2.json"), ".p");

        vm.expectRevert(abi.encodeWithSelector(ITreeErrors.NotAFieldElement.selector, p));
        _hasher.compress(0, 0, 0, p);
    }

    /// @notice Payouts that are missing, out of range or not ascending are refused.
    function test_malformedPathsAreRefused() external {
        uint256[] memory none = new uint256[](0);
        Payout[] memory payouts = new Payout[](0);
        vm.expectRevert(ITreeErrors.NoPayouts.selector);
        _hasher.root(payouts, none, 3);

        payouts = new Payout[](2);
        vm.expectRevert(abi.encodeWithSelector(ITreeErrors.SlotsNotAscending.selector, 0));
        _hasher.root(payouts, none, 3);

        Payout memory payout = Payout(32, address(1), 1);
        vm.expectRevert(abi.encodeWithSelector(ITreeErrors.SlotOutOfRange.selector, 32));
        _hasher.rootOfOne(payout, new uint256[](8), 3);

        payout.slot = 31;
        vm.expectRevert(abi.encodeWithSelector(ITreeErrors.WrongSiblingCount.selector, 7, 8));
        _hasher.rootOfOne(payout, new uint256[](7), 3);
    }

    /// @notice H4 of the vectors' states is as in Python.
    function test_compress() external view {
        string memory json = _read("poseidon2.json");
        uint256 count = _count(json, ".h4");
        require(count > 20, "too few vectors");

        for (uint256 i = 0; i < count; ++i) {
            uint256[] memory s = vm.parseJsonUintArray(json, string.concat(_at(".h4", i), ".in"));
            uint256 expected = vm.parseJsonUint(json, string.concat(_at(".h4", i), ".out"));
            vm.assertEq(_hasher.compress(s[0], s[1], s[2], s[3]), expected, _at(".h4", i));
        }
    }

    /// @notice Single paths and shared paths of the vectors' trees lead to their roots.
    function test_roots() external view {
        string memory json = _read("tree.json");
        uint256 count = _count(json, "$");
        require(count >= 6, "too few trees");

        for (uint256 i = 0; i < count; ++i) {
            _checkTree(json, _at("$", i));
        }
    }

    function _checkTree(string memory json, string memory tree) private view {
        uint256 root = vm.parseJsonUint(json, string.concat(tree, ".root"));
        uint256 levels = vm.parseJsonUint(json, string.concat(tree, ".levels"));

        string memory paths = string.concat(tree, ".paths");
        for (uint256 i = 0; i < _count(json, paths); ++i) {
            string memory path = _at(paths, i);
            Payout memory payout = _payout(json, tree, vm.parseJsonUint(json, string.concat(path, ".slot")));
            uint256[] memory siblings = vm.parseJsonUintArray(json, string.concat(path, ".siblings"));
            vm.assertEq(_hasher.rootOfOne(payout, siblings, levels), root, path);
        }

        paths = string.concat(tree, ".sharedPaths");
        for (uint256 i = 0; i < _count(json, paths); ++i) {
            string memory path = _at(paths, i);
            uint256[] memory slots = vm.parseJsonUintArray(json, string.concat(path, ".slots"));
            uint256[] memory siblings = vm.parseJsonUintArray(json, string.concat(path, ".siblings"));
            Payout[] memory payouts = new Payout[](slots.length);
            for (uint256 j = 0; j < slots.length; ++j) {
                payouts[j] = _payout(json, tree, slots[j]);
            }
            vm.assertEq(_hasher.root(payouts, siblings, levels), root, path);
        }
    }

    function _payout(string memory json, string memory tree, uint256 slot) private pure returns (Payout memory) {
        string memory pair = _at(string.concat(tree, ".pairs"), slot);
        return
            Payout(uint16(slot), vm.parseJsonAddress(json, _at(pair, 0)), uint128(vm.parseJsonUint(json, _at(pair, 1))));
    }
}
