// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title HostileSigner
/// @notice Answers `isValidSignature` (EIP-1271) in one of the ways that a contract must not be able to harm with. Works
/// as a contract and as the delegate of an account (EIP-7702).
contract HostileSigner {
    enum Mode {
        Accept,
        Refuse,
        Revert,
        BurnGas,
        ManyBytes,
        FewBytes,
        DirtyWord,
        Nothing
    }

    bytes32 private constant MAGIC = bytes32(bytes4(0x1626ba7e));

    Mode public mode;

    function become(Mode mode_) external {
        mode = mode_;
    }

    function isValidSignature(bytes32, bytes calldata) external view returns (bytes32) {
        if (mode == Mode.Refuse) return bytes32(0);
        if (mode == Mode.Revert) revert();
        if (mode == Mode.Nothing) _return(MAGIC, 0);
        if (mode == Mode.FewBytes) _return(MAGIC, 31);
        if (mode == Mode.ManyBytes) _return(bytes32(0), 300_000);
        if (mode == Mode.DirtyWord) return MAGIC | bytes32(uint256(1));
        // solhint-disable-next-line no-empty-blocks
        while (mode == Mode.BurnGas) {}
        return MAGIC;
    }

    function _return(bytes32 word, uint256 size) private pure {
        assembly {
            mstore(0, word)
            return(0, size)
        }
    }
}
