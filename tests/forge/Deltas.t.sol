// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Vectors} from "./Vectors.sol";

/// @title IDeltasHarness
/// @notice The function of contracts/mocks/DeltasHarness.sol.
interface IDeltasHarness {
    function read(bytes calldata deltas, uint256 opened, uint256 slots, uint256 r)
        external
        pure
        returns (uint256 openings, uint256 total, uint256 fingerprint);
}

/// @title DeltasTest
/// @notice The format of `deltas` against tests/vectors/deltas.json.
contract DeltasTest is Vectors {
    IDeltasHarness private _harness;
    string private _json;

    function setUp() external {
        _harness = IDeltasHarness(_deploy("DeltasHarness", ""));
        _json = _read("deltas.json");
    }

    /// @notice Malformed deltas revert with the error of the rule that they break.
    function test_malformedDeltasAreRefusedByTheirRule() external view {
        string memory json = _json;
        uint256 count = _count(json, ".malformed");
        require(count > 20, "too few malformed vectors");

        for (uint256 i = 0; i < count; ++i) {
            string memory item = _at(".malformed", i);
            bytes memory data = vm.parseJsonBytes(json, string.concat(item, ".data"));
            uint256 opened = vm.parseJsonUint(json, string.concat(item, ".opened"));
            uint256 slots = vm.parseJsonUint(json, string.concat(item, ".slots"));
            bytes32 rule = keccak256(bytes(vm.parseJsonString(json, string.concat(item, ".rule"))));

            try _harness.read(data, opened, slots, 7) {
                revert(string.concat(item, " is accepted"));
            } catch (bytes memory reason) {
                require(bytes4(reason) == _selector(rule), string.concat(item, " breaks another rule"));
            }
        }
    }

    /// @notice Valid deltas have the total and, at each challenge, the fingerprint that Python computes.
    function test_validDeltasHaveTheirTotalAndFingerprints() external view {
        string memory json = _json;
        uint256 count = _count(json, ".valid");
        require(count >= 10, "too few valid vectors");

        for (uint256 i = 0; i < count; ++i) {
            _checkValid(json, _at(".valid", i));
        }
    }

    function _checkValid(string memory json, string memory item) private view {
        string memory points = string.concat(item, ".fingerprints");
        uint256 count = _count(json, points);
        for (uint256 i = 0; i < count; ++i) {
            uint256 r = vm.parseJsonUint(json, string.concat(_at(points, i), ".r"));
            uint256[3] memory found = _measure(json, item, r);

            vm.assertEq(found[0], _count(json, string.concat(item, ".openings")), string.concat(item, ": openings"));
            vm.assertEq(found[1], vm.parseJsonUint(json, string.concat(item, ".total")), string.concat(item, ": total"));
            vm.assertEq(
                found[2],
                vm.parseJsonUint(json, string.concat(_at(points, i), ".fingerprint")),
                string.concat(item, ": fingerprint")
            );
        }
    }

    /// @dev Returns openings, total and fingerprint of an item's deltas.
    function _measure(string memory json, string memory item, uint256 r)
        private
        view
        returns (uint256[3] memory found)
    {
        bytes memory data = vm.parseJsonBytes(json, string.concat(item, ".data"));
        uint256 opened = vm.parseJsonUint(json, string.concat(item, ".opened"));
        uint256 slots = vm.parseJsonUint(json, string.concat(item, ".slots"));
        (found[0], found[1], found[2]) = _harness.read(data, opened, slots, r);
    }

    function _selector(bytes32 rule) private pure returns (bytes4) {
        string[6] memory signatures = [
            "DeltasLength()",
            "SlotsNotAscending(uint256)",
            "SlotNotOpen(uint256)",
            "ZeroDelta(uint256)",
            "ZeroAddress()",
            "BucketFull()"
        ];
        string[6] memory names =
            ["DeltasLength", "SlotsNotAscending", "SlotNotOpen", "ZeroDelta", "ZeroAddress", "BucketFull"];
        for (uint256 i = 0; i < names.length; ++i) {
            if (keccak256(bytes(names[i])) == rule) return bytes4(keccak256(bytes(signatures[i])));
        }
        revert("unknown rule");
    }
}
