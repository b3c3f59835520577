// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Attestation, IDistributor} from "../interfaces/IDistributor.sol";
import {IDistributorControl} from "../interfaces/IDistributorControl.sol";
import {Signatures} from "./Signatures.sol";

/// @title Attestations
/// @author Guerdon contributors
/// @custom:security-contact security@example.org is a placeholder. Deployers replace it with their own address.
/// @notice Stores a set of attestors and checks that enough attestors have signed a digest.
library Attestations {
    /// @param epochOf The last epoch in which an address was an attestor. The address is an attestor now if this is the
    /// current epoch, so replacing the set needs no deletions.
    /// @param list The current attestors, ascending.
    struct Set {
        mapping(address => uint64) epochOf;
        address[] list;
    }

    /// @dev Bounds the gas of checking and of replacing a set.
    uint256 internal constant MAX_ATTESTORS = 64;

    /// @notice Reverts unless `list` is strictly ascending, without address 0, and `threshold` is 1 to its length.
    function validate(address[] memory list, uint16 threshold) internal pure {
        if (list.length > MAX_ATTESTORS) revert IDistributorControl.TooManyAttestors(list.length);
        if (threshold == 0 || threshold > list.length) {
            revert IDistributorControl.InvalidThreshold(threshold, list.length);
        }

        address previous = address(0);
        for (uint256 i = 0; i < list.length; ++i) {
            if (list[i] <= previous) revert IDistributorControl.AttestorsNotAscending(list[i]);
            previous = list[i];
        }
    }

    /// @notice Stores `list` as the attestors of `epoch`. The caller has validated the list.
    function replace(Set storage set, address[] memory list, uint64 epoch) internal {
        set.list = list;
        for (uint256 i = 0; i < list.length; ++i) {
            set.epochOf[list[i]] = epoch;
        }
    }

    /// @notice Reverts unless at least `threshold` attestors of `epoch` have signed `digest`. A signature by any other
    /// address reverts too.
    function check(
        Set storage set,
        uint64 epoch,
        uint256 threshold,
        bytes32 digest,
        Attestation[] calldata attestations
    ) internal view {
        if (attestations.length < threshold) {
            revert IDistributor.TooFewAttestations(attestations.length, threshold);
        }

        address previous = address(0);
        for (uint256 i = 0; i < attestations.length; ++i) {
            address attestor = attestations[i].attestor;
            if (attestor <= previous) revert IDistributorControl.AttestorsNotAscending(attestor);
            if (set.epochOf[attestor] != epoch) revert IDistributor.UnknownAttestor(attestor);
            if (!Signatures.isAttestors(attestor, digest, attestations[i].signature)) {
                if (Signatures.isCounterfactual(attestor, attestations[i].signature)) {
                    revert IDistributor.CounterfactualSignature(attestor);
                }
                revert IDistributor.InvalidAttestation(attestor);
            }
            previous = attestor;
        }
    }

    /// @notice Returns whether at least `threshold` attestors of `epoch` have signed `digest`. What is no attestation by
    /// an attestor above the one before is passed over, so that one attestor who changes his mind spoils nothing.
    function holds(
        Set storage set,
        uint64 epoch,
        uint256 threshold,
        bytes32 digest,
        Attestation[] calldata attestations
    ) internal view returns (bool) {
        uint256 missing = threshold;
        address previous = address(0);
        // Once enough hold, nobody else is asked.
        for (uint256 i = 0; i < attestations.length && missing != 0; ++i) {
            address attestor = attestations[i].attestor;
            if (attestor <= previous || set.epochOf[attestor] != epoch) continue;
            if (!Signatures.isAttestors(attestor, digest, attestations[i].signature)) continue;
            previous = attestor;
            --missing;
        }
        return missing == 0;
    }
}
