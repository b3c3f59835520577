// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title Rewards under a root that nobody proves, posted and claimed in the way of Merkl's Distributor
/// @notice For measurements only: the same words are read and written, and there is no dispute and no owner.
/// Source: AngleProtocol/merkl-contracts, Distributor.sol.
contract UnprovenRoots {
    using SafeERC20 for IERC20;

    struct Tree {
        bytes32 root;
        bytes32 listing;
    }

    struct Paid {
        uint208 amount;
        uint48 claimedAt;
        bytes32 root;
    }

    error NotTrusted();
    error WrongProof();

    event TreeUpdated(bytes32 root, bytes32 listing, uint48 endOfDispute);
    event Claimed(address indexed account, address indexed token, uint256 amount);

    Tree public tree;
    Tree public lastTree;
    address public disputer;
    uint48 public endOfDispute;
    uint48 public immutable DISPUTE_SECONDS;
    mapping(address account => mapping(address token => Paid)) public paid;
    mapping(address poster => uint256) public trusted;

    constructor(address poster, uint48 disputeSeconds) {
        trusted[poster] = 1;
        DISPUTE_SECONDS = disputeSeconds;
    }

    function updateTree(Tree calldata tree_) external {
        if (disputer != address(0) || trusted[msg.sender] != 1 || block.timestamp < endOfDispute) {
            revert NotTrusted();
        }
        lastTree = tree;
        tree = tree_;
        endOfDispute = uint48(block.timestamp) + DISPUTE_SECONDS;
        emit TreeUpdated(tree_.root, tree_.listing, endOfDispute);
    }

    function claim(
        address[] calldata accounts,
        address[] calldata tokens,
        uint256[] calldata amounts,
        bytes32[][] calldata proofs
    ) external {
        bytes32 root = block.timestamp >= endOfDispute ? tree.root : lastTree.root;
        for (uint256 i; i < accounts.length; ++i) {
            bytes32 node = keccak256(abi.encode(accounts[i], tokens[i], amounts[i]));
            for (uint256 j; j < proofs[i].length; ++j) {
                bytes32 other = proofs[i][j];
                node = node < other ? keccak256(abi.encode(node, other)) : keccak256(abi.encode(other, node));
            }
            if (node != root) revert WrongProof();
            uint256 unpaid = amounts[i] - paid[accounts[i]][tokens[i]].amount;
            paid[accounts[i]][tokens[i]] = Paid(uint208(amounts[i]), uint48(block.timestamp), root);
            IERC20(tokens[i]).safeTransfer(accounts[i], unpaid);
            emit Claimed(accounts[i], tokens[i], unpaid);
        }
    }
}
