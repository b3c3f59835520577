// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {Attestation, Batch, Config, IDistributor} from "contracts/interfaces/IDistributor.sol";
import {IDistributorControl} from "contracts/interfaces/IDistributorControl.sol";
import {IPoseidon2, Payout} from "contracts/interfaces/IPoseidon2.sol";
import {IVerifier} from "contracts/interfaces/IVerifier.sol";
import {Vectors} from "./Vectors.sol";

/// @title ITestToken
/// @notice The functions of contracts/mocks/TestToken.sol.
interface ITestToken is IERC20 {
    function mint(address to, uint256 amount) external;
}

/// @title DistributorTest
/// @notice The batches of tests/vectors/batch_dev.json with real proofs (tests/forge/proofs.py), posted and claimed.
contract DistributorTest is Vectors {
    uint256 private constant ATTESTORS = 3;

    IDistributor private _distributor;
    ITestToken private _token;
    uint256[ATTESTORS] private _keys;
    string private _json;
    string private _proofs;

    /// @dev Deploys the Distributor at the address that the vectors' digests are for.
    function setUp() external {
        _json = _read("batch_dev.json");
        _proofs = vm.readFile("build/forge/batch_dev.json");
        vm.chainId(vm.parseJsonUint(_json, ".chainId"));
        vm.warp(1_700_000_000);

        _token = ITestToken(_deploy("TestToken", abi.encode("Test", "TST")));
        _makeKeys();
        address[] memory attestors = new address[](ATTESTORS);
        for (uint256 i = 0; i < ATTESTORS; ++i) {
            attestors[i] = vm.addr(_keys[i]);
        }
        Config memory config = Config({
            token: _token,
            verifier: IVerifier(_deploy("Groth16Verifier", abi.encode(_key()))),
            hasher: IPoseidon2(_deploy("Poseidon2", "")),
            levels: uint8(vm.parseJsonUint(_json, ".instance.levels")),
            families: 1,
            owner: address(0x1001),
            guardian: address(0x1002),
            attestors: attestors,
            threshold: 2,
            dailyLimit: 0
        });
        address target = vm.parseJsonAddress(_json, ".distributor");
        _constructAt(target, bytes.concat(_code("Distributor"), abi.encode(config)));
        _distributor = IDistributor(target);
        _token.mint(target, 10 ** 40);
    }

    /* REFUSALS */

    /// @notice A batch that skips a sequence is refused.
    function test_anotherSequenceIsRefused() external {
        (Batch memory batch, bytes memory deltas, uint256[8] memory proof, Attestation[] memory signed) = _posting(1);
        vm.expectRevert(abi.encodeWithSelector(IDistributor.WrongSequence.selector, 2, 1));
        _distributor.postBatch(batch, deltas, proof, signed);
    }

    /// @notice A batch is refused one second after its `validUntil`.
    function test_anExpiredBatchIsRefused() external {
        (Batch memory batch, bytes memory deltas, uint256[8] memory proof, Attestation[] memory signed) = _posting(0);
        vm.warp(uint256(batch.validUntil) + 1);
        vm.expectRevert(abi.encodeWithSelector(IDistributor.BatchExpired.selector, batch.validUntil));
        _distributor.postBatch(batch, deltas, proof, signed);
    }

    /// @notice One signature is not enough if the threshold is two.
    function test_fewerAttestationsThanTheThresholdAreRefused() external {
        (Batch memory batch, bytes memory deltas, uint256[8] memory proof, Attestation[] memory signed) = _posting(0);
        Attestation[] memory one = new Attestation[](1);
        one[0] = signed[0];
        vm.expectRevert(abi.encodeWithSelector(IDistributor.TooFewAttestations.selector, 1, 2));
        _distributor.postBatch(batch, deltas, proof, one);
    }

    /// @notice The same signature twice does not count as two.
    function test_anAttestationCountsOnce() external {
        (Batch memory batch, bytes memory deltas, uint256[8] memory proof, Attestation[] memory signed) = _posting(0);
        signed[1] = signed[0];
        vm.expectRevert(abi.encodeWithSelector(IDistributorControl.AttestorsNotAscending.selector, signed[0].attestor));
        _distributor.postBatch(batch, deltas, proof, signed);
    }

    /// @notice A changed field of the batch makes every signature invalid.
    function test_aChangedFieldVoidsTheSignatures() external {
        (Batch memory batch, bytes memory deltas, uint256[8] memory proof, Attestation[] memory signed) = _posting(0);
        batch.ledgerHead = ~batch.ledgerHead;
        vm.expectRevert(abi.encodeWithSelector(IDistributor.InvalidAttestation.selector, signed[0].attestor));
        _distributor.postBatch(batch, deltas, proof, signed);
    }

    /// @notice Changed deltas make every signature invalid.
    function test_changedDeltasVoidTheSignatures() external {
        (Batch memory batch, bytes memory deltas, uint256[8] memory proof, Attestation[] memory signed) = _posting(0);
        deltas[deltas.length - 1] ^= 0x01;
        vm.expectRevert(abi.encodeWithSelector(IDistributor.InvalidAttestation.selector, signed[0].attestor));
        _distributor.postBatch(batch, deltas, proof, signed);
    }

    /// @notice A new root that attestors have signed but no proof supports is refused.
    function test_aRootThatIsNotProvenIsRefused() external {
        (Batch memory batch, bytes memory deltas, uint256[8] memory proof,) = _posting(0);
        batch.newRoot ^= 1;
        bytes32 digest = _digest(batch, vm.parseJsonBytes32(_json, ".batches[0].envelope.oldRoot"), keccak256(deltas));
        vm.expectRevert(IDistributor.InvalidProof.selector);
        _distributor.postBatch(batch, deltas, proof, _sign(digest));
    }

    /// @notice A batch is refused if the reserve is one base unit short.
    function test_aReserveThatDoesNotCoverTheBatchIsRefused() external {
        (Batch memory batch, bytes memory deltas, uint256[8] memory proof, Attestation[] memory signed) = _posting(0);
        uint256 total = vm.parseJsonUint(_json, ".batches[0].total");
        uint256 balance = _token.balanceOf(address(_distributor));
        vm.prank(address(_distributor));
        _token.transfer(address(1), balance - total + 1);
        vm.expectRevert(abi.encodeWithSelector(IDistributor.ReserveExceeded.selector, total, total - 1));
        _distributor.postBatch(batch, deltas, proof, signed);
    }

    /// @notice A claim for more, for another account or at a sequence that is not posted is refused.
    function test_aClaimOfMoreOrByAnotherIsRefused() external {
        _post(0);
        Payout memory payout = _payout(0, 0);
        uint256[] memory siblings = _siblings(0, 0);
        bytes memory refusal = abi.encodeWithSelector(IDistributor.NotInBucket.selector, 0, 1);

        vm.expectRevert(refusal);
        _distributor.claim(0, 0, 1, payout.account, payout.cumulative + 1, siblings);
        vm.expectRevert(refusal);
        _distributor.claim(0, 0, 1, address(0xBAD), payout.cumulative, siblings);
        vm.expectRevert(abi.encodeWithSelector(IDistributor.UnknownRoot.selector, 0, 2));
        _distributor.claim(0, 0, 2, payout.account, payout.cumulative, siblings);
    }

    /* POSTING AND CLAIMS */

    /// @notice Every batch of the vectors is posted with its real proof. Roots, slots and totals are those of the
    /// vectors.
    function test_batchesArePosted() external {
        uint256 committed = 0;
        uint256 count = _count(_json, ".batches");
        require(count >= 4, "too few batches");

        for (uint256 i = 0; i < count; ++i) {
            _post(i);

            string memory item = _at(".batches", i);
            committed += vm.parseJsonUint(_json, string.concat(item, ".total"));
            (uint64 sequence, uint32 opened) = _distributor.buckets(0);
            uint256 root = vm.parseJsonUint(_json, string.concat(item, ".envelope.newRoot"));
            vm.assertEq(sequence, i + 1, item);
            vm.assertEq(opened, _count(_json, string.concat(item, ".new")), item);
            vm.assertEq(_distributor.root(0, sequence), root, item);
            vm.assertEq(_distributor.committed(), committed, item);
        }
    }

    /// @notice An account claims the difference to what it has been paid, once for each state, also at an older root.
    function test_claims() external {
        _post(0);
        Payout memory first = _payout(0, 0);
        _distributor.claim(0, 0, 1, first.account, first.cumulative, _siblings(0, 0));
        vm.assertEq(_token.balanceOf(first.account), first.cumulative, "first claim");

        vm.expectRevert(IDistributor.NothingToClaim.selector);
        _distributor.claim(0, 0, 1, first.account, first.cumulative, _siblings(0, 0));

        for (uint256 i = 1; i < 4; ++i) {
            _post(i);
        }
        for (uint256 state = 1; state < 4; ++state) {
            Payout memory payout = _payout(state, 1);
            uint256 before = _token.balanceOf(payout.account);
            uint128 paid = _distributor.claimed(0, 1);
            if (payout.cumulative == paid) continue;
            _distributor.claim(0, 1, uint64(state + 1), payout.account, payout.cumulative, _siblings(state, 1));
            vm.assertEq(_token.balanceOf(payout.account) - before, payout.cumulative - paid, "later claim");
        }
    }

    /// @notice `claimMany` pays all accounts of the bucket exactly what is committed; a second call pays nothing.
    function test_claimManyPaysAllThatIsCommitted() external {
        for (uint256 i = 0; i < 4; ++i) {
            _post(i);
        }
        uint256 count = _count(_json, ".batches[3].new");
        Payout[] memory payouts = new Payout[](count);
        for (uint256 slot = 0; slot < count; ++slot) {
            payouts[slot] = _payout(3, slot);
        }
        uint256[] memory siblings = vm.parseJsonUintArray(_proofs, ".batches[3].allSiblings");
        uint256 before = _token.balanceOf(address(_distributor));

        _distributor.claimMany(0, 4, payouts, siblings);
        vm.assertEq(before - _token.balanceOf(address(_distributor)), _distributor.committed(), "paid");
        vm.assertEq(_distributor.claimedTotal(), _distributor.committed(), "recorded");

        _distributor.claimMany(0, 4, payouts, siblings);
        vm.assertEq(_distributor.claimedTotal(), _distributor.committed(), "paid twice");
    }

    /* HELPERS */

    function _post(uint256 index) private {
        (Batch memory batch, bytes memory deltas, uint256[8] memory proof, Attestation[] memory signed) =
            _posting(index);
        _distributor.postBatch(batch, deltas, proof, signed);
    }

    /// @dev Returns the arguments of `postBatch` for a batch of the vectors, signed over the vectors' digest.
    function _posting(uint256 index)
        private
        view
        returns (Batch memory batch, bytes memory deltas, uint256[8] memory proof, Attestation[] memory signed)
    {
        string memory item = _at(".batches", index);
        string memory envelope = string.concat(item, ".envelope");
        batch.bucket = uint32(vm.parseJsonUint(_json, string.concat(envelope, ".bucket")));
        batch.sequence = uint64(vm.parseJsonUint(_json, string.concat(envelope, ".sequence")));
        batch.newRoot = vm.parseJsonUint(_json, string.concat(envelope, ".newRoot"));
        batch.itemsRoot = vm.parseJsonUint(_json, string.concat(envelope, ".itemsRoot"));
        batch.interactionsRoot = vm.parseJsonBytes32(_json, string.concat(envelope, ".interactionsRoot"));
        batch.ledgerHead = vm.parseJsonBytes32(_json, string.concat(envelope, ".ledgerHead"));
        batch.validUntil = uint64(vm.parseJsonUint(_json, string.concat(envelope, ".validUntil")));
        deltas = vm.parseJsonBytes(_json, string.concat(item, ".deltas"));
        uint256[] memory words = vm.parseJsonUintArray(_proofs, string.concat(item, ".proof"));
        for (uint256 i = 0; i < 8; ++i) {
            proof[i] = words[i];
        }
        bytes32 oldRoot = vm.parseJsonBytes32(_json, string.concat(envelope, ".oldRoot"));
        bytes32 digest = _digest(batch, oldRoot, keccak256(deltas));
        vm.assertEq(digest, vm.parseJsonBytes32(_json, string.concat(item, ".digest")), "digest");
        signed = _sign(digest);
    }

    /// @dev Returns the EIP-712 digest of a batch in epoch 1, written out once more from the specification.
    function _digest(Batch memory batch, bytes32 oldRoot, bytes32 deltasHash) private view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Guerdon Distributor"),
                keccak256("2"),
                block.chainid,
                _distributor
            )
        );
        bytes32 typehash = keccak256(
            "Batch(uint32 bucket,uint64 sequence,uint256 oldRoot,uint256 newRoot,uint256 itemsRoot,"
            "bytes32 interactionsRoot,bytes32 ledgerHead,bytes32 deltasHash,uint64 attestorEpoch,uint64 validUntil)"
        );
        bytes memory head = abi.encode(typehash, batch.bucket, batch.sequence, oldRoot, batch.newRoot, batch.itemsRoot);
        bytes memory tail =
            abi.encode(batch.interactionsRoot, batch.ledgerHead, deltasHash, uint64(1), batch.validUntil);
        return keccak256(abi.encodePacked(hex"1901", domain, keccak256(bytes.concat(head, tail))));
    }

    /// @dev Returns the signatures of the first two attestors.
    function _sign(bytes32 digest) private view returns (Attestation[] memory signed) {
        signed = new Attestation[](2);
        for (uint256 i = 0; i < 2; ++i) {
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(_keys[i], digest);
            signed[i] = Attestation(vm.addr(_keys[i]), abi.encodePacked(r, s, v));
        }
    }

    function _payout(uint256 state, uint256 slot) private view returns (Payout memory) {
        string memory pair = _at(string.concat(_at(".batches", state), ".new"), slot);
        return
            Payout(
                uint16(slot), vm.parseJsonAddress(_json, _at(pair, 0)), uint128(vm.parseJsonUint(_json, _at(pair, 1)))
            );
    }

    function _siblings(uint256 state, uint256 slot) private view returns (uint256[] memory) {
        return vm.parseJsonUintArray(_proofs, _at(string.concat(_at(".batches", state), ".siblings"), slot));
    }

    /// @dev Stores keys whose addresses are ascending.
    function _makeKeys() private {
        for (uint256 i = 0; i < ATTESTORS; ++i) {
            uint256 key = uint256(keccak256(abi.encode("guerdon attestor", i)));
            uint256 j = i;
            for (; j > 0 && vm.addr(_keys[j - 1]) > vm.addr(key); --j) {
                _keys[j] = _keys[j - 1];
            }
            _keys[j] = key;
        }
    }

    function _key() private view returns (uint256[26] memory key) {
        uint256[] memory words = vm.parseJsonUintArray(_proofs, ".key");
        for (uint256 i = 0; i < 26; ++i) {
            key[i] = words[i];
        }
    }

    /// @dev Runs creation code at an address: the code is put there, called, and replaced by the runtime code that it
    /// returns.
    function _constructAt(address target, bytes memory creation) private {
        vm.etch(target, creation);
        (bool success, bytes memory runtime) = target.call("");
        require(success, "the constructor reverts");
        vm.etch(target, runtime);
    }
}
