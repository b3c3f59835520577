// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice A slot of a bucket, as it stands in the bucket's tree.
/// @param slot The slot's number, 0 .. N-1.
/// @param account The address that holds the slot.
/// @param cumulative All that the account has ever earned there, in token base units.
struct Payout {
    uint16 slot;
    address account;
    uint128 cumulative;
}

/// @title ITreeErrors
/// @notice What can be wrong with a path through a bucket tree.
interface ITreeErrors {
    /// @notice A tree element is not below the BN254 scalar field order.
    error NotAFieldElement(uint256 element);

    /// @notice The slot is not below N.
    error SlotOutOfRange(uint256 slot);

    /// @notice Slots do not rise strictly.
    error SlotsNotAscending(uint256 slot);

    /// @notice There is nothing to prove.
    error NoPayouts();

    /// @notice The path takes another number of siblings.
    error WrongSiblingCount(uint256 given, uint256 expected);
}

/// @title IPoseidon2
/// @notice H4, the 4-to-1 compression of Poseidon2 over BN254, and bucket trees folded by it. Stateless.
interface IPoseidon2 is ITreeErrors {
    /// @notice H4 of four field elements: permute(a, b, c, d)[0] + a mod p.
    function compress(uint256 a, uint256 b, uint256 c, uint256 d) external view returns (uint256 h);

    /// @notice The root of a tree of 4^levels elements that holds `payout`, element 2s being the address and 2s+1 the cumulative of slot s.
    /// @param siblings 3 * levels - 1 nodes: the other pair under the lowest node, then three nodes a level, lowest level first, left to right.
    /// @param levels The tree's height.
    function rootOfOne(Payout calldata payout, uint256[] calldata siblings, uint256 levels)
        external
        view
        returns (uint256);

    /// @notice The root of a tree of 4^levels elements that holds `payouts`, element 2s being the address and 2s+1 the cumulative of slot s.
    /// @dev One walk up for all of them, level by level, each node hashed once.
    /// @param payouts At least one, slots strictly ascending, each below N = 4^levels / 2.
    /// @param siblings The nodes that do not follow from `payouts`, in reading order: lowest level first, left to right.
    /// @param levels The tree's height.
    function root(Payout[] calldata payouts, uint256[] calldata siblings, uint256 levels)
        external
        view
        returns (uint256);
}
