// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The content of a slot in the tree of a bucket.
/// @param slot Number of the slot, 0 to N - 1.
/// @param account The account that occupies the slot.
/// @param cumulative All that the account has ever earned in the slot, in token base units.
struct Payout {
    uint16 slot;
    address account;
    uint128 cumulative;
}

/// @title ITreeErrors
/// @author Guerdon contributors
/// @notice The errors of a proof of membership in a bucket tree.
interface ITreeErrors {
    /// @notice Thrown when a tree element is not below the BN254 scalar field order.
    error NotAFieldElement(uint256 element);

    /// @notice Thrown when a slot is not below N.
    error SlotOutOfRange(uint256 slot);

    /// @notice Thrown when slots are not strictly ascending.
    error SlotsNotAscending(uint256 slot);

    /// @notice Thrown when the list of payouts is empty.
    error NoPayouts();

    /// @notice Thrown when the number of siblings is not the number that the payouts need.
    error WrongSiblingCount(uint256 given, uint256 expected);
}

/// @title IPoseidon2
/// @author Guerdon contributors
/// @notice H4, the 4-to-1 compression of Poseidon2 over BN254, and roots of bucket trees hashed with H4. Stateless.
/// @dev In a tree of 4^levels elements, element 2s is the account of slot s and element 2s + 1 its cumulative amount.
interface IPoseidon2 is ITreeErrors {
    /// @notice Returns H4 of four field elements: permute(a, b, c, d)[0] + a modulo p.
    function compress(uint256 a, uint256 b, uint256 c, uint256 d) external view returns (uint256 h);

    /// @notice Returns the root of the tree that holds `payout`.
    /// @param payout The content of one slot.
    /// @param siblings 3 * levels - 1 nodes, lowest level first: the other pair under the lowest node, then three nodes
    /// for each further level, left to right.
    /// @param levels Height of the tree.
    function rootOfOne(Payout calldata payout, uint256[] calldata siblings, uint256 levels)
        external
        view
        returns (uint256);

    /// @notice Returns the root of the tree that holds all `payouts`.
    /// @dev Hashes level by level, each node once.
    /// @param payouts At least one payout, by strictly ascending slot below N = 4^levels / 2.
    /// @param siblings The nodes that do not follow from `payouts`, lowest level first, left to right.
    /// @param levels Height of the tree.
    function root(Payout[] calldata payouts, uint256[] calldata siblings, uint256 levels)
        external
        view
        returns (uint256);
}
