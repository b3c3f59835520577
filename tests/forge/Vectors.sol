// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Vm
/// @notice The cheatcodes of forge that the suite uses.
interface Vm {
    function readFile(string calldata path) external view returns (string memory);
    function keyExistsJson(string calldata json, string calldata key) external view returns (bool);
    function parseJsonUint(string calldata json, string calldata key) external pure returns (uint256);
    function parseJsonUintArray(string calldata json, string calldata key) external pure returns (uint256[] memory);
    function parseJsonBytes32(string calldata json, string calldata key) external pure returns (bytes32);
    function parseJsonBytes32Array(string calldata json, string calldata key) external pure returns (bytes32[] memory);
    function parseJsonBytes(string calldata json, string calldata key) external pure returns (bytes memory);
    function parseJsonString(string calldata json, string calldata key) external pure returns (string memory);
    function parseJsonAddress(string calldata json, string calldata key) external pure returns (address);
    function toString(uint256 value) external pure returns (string memory);
    function assertEq(uint256 left, uint256 right, string calldata message) external pure;
    function assertEq(bytes32 left, bytes32 right, string calldata message) external pure;
    function expectRevert(bytes4 selector) external;
    function expectRevert(bytes calldata data) external;
    function addr(uint256 key) external pure returns (address);
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function etch(address target, bytes calldata code) external;
    function chainId(uint256 id) external;
    function warp(uint256 time) external;
    function prank(address sender) external;
}

/// @title Vectors
/// @notice Reads the JSON vectors that Python, the circuit and Solidity share.
abstract contract Vectors {
    Vm internal constant vm = Vm(0x7109709ECfa91a80626fF3989D68f67F5b1DD12D);

    function _read(string memory name) internal view returns (string memory) {
        return vm.readFile(string.concat("tests/vectors/", name));
    }

    /// @dev Returns `key[index]`.
    function _at(string memory key, uint256 index) internal pure returns (string memory) {
        return string.concat(key, "[", vm.toString(index), "]");
    }

    /// @dev Returns the number of elements of the array at `key`.
    function _count(string memory json, string memory key) internal view returns (uint256 count) {
        while (vm.keyExistsJson(json, _at(key, count))) ++count;
    }

    /// @dev Returns the creation code in the artifact of a contract: the very code that the product deploys.
    function _code(string memory name) internal view returns (bytes memory) {
        return vm.parseJsonBytes(vm.readFile(string.concat("build/contracts/", name, ".json")), ".bytecode");
    }

    /// @dev Deploys a contract from its artifact.
    /// @param arguments The ABI-encoded arguments of the constructor.
    function _deploy(string memory name, bytes memory arguments) internal returns (address deployed) {
        bytes memory creation = bytes.concat(_code(name), arguments);
        assembly ("memory-safe") {
            deployed := create(0, add(creation, 0x20), mload(creation))
        }
        require(deployed != address(0), string.concat(name, " is not deployed"));
    }
}
