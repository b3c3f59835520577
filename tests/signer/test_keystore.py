"""The keystore signer: files that are whole and private, errors that leak nothing, signatures as
the chain takes them."""

import json
import pickle
import stat

import pytest
from eth_account import Account
from eth_keys import keys

from backend.signer import keystore
from backend.signer.base import SignerError

PASSWORD = "correct horse"
SECP256K1_N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
TRANSACTION = {
    "chainId": 31337,
    "nonce": 3,
    "gas": 21000,
    "maxFeePerGas": 2 * 10**9,
    "maxPriorityFeePerGas": 10**9,
    "to": "0x" + "11" * 20,
    "value": 5,
    "data": b"",
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys" / "one.json"


@pytest.fixture
def signer(path):
    return keystore.create(path, PASSWORD, scrypt_n=2)


def test_existing_file_is_kept(path, signer):
    """A second create refuses and leaves the first key usable."""
    with pytest.raises(keystore.KeystoreError, match="exists already"):
        keystore.create(path, PASSWORD, scrypt_n=2)
    assert keystore.load(path, PASSWORD).address == signer.address
    assert [p.name for p in path.parent.iterdir()] == ["one.json"]


def test_empty_password_is_refused(path):
    """An empty password is refused before anything is written."""
    with pytest.raises(keystore.KeystoreError, match="password"):
        keystore.create(path, "", scrypt_n=2)
    assert not path.exists()


@pytest.mark.parametrize("key", [b"", b"\0" * 32, b"\xff" * 32, b"\x01" * 31])
def test_bad_private_key_is_refused_and_not_repeated(path, key):
    """A key out of range gets an error that does not hold it."""
    with pytest.raises(keystore.KeystoreError, match="private_key") as caught:
        keystore.create(path, PASSWORD, scrypt_n=2, private_key=key)
    assert not key or key.hex() not in repr(caught.value)
    assert not path.exists()


def test_missing_file(path):
    """A file that is not there is said so."""
    with pytest.raises(keystore.KeystoreError, match="cannot be read"):
        keystore.load(path, PASSWORD)


def test_wrong_password(path, signer):
    """A wrong password is named as such; neither password nor key stands in the error or its
    cause."""
    with pytest.raises(keystore.KeystoreError, match="wrong password") as caught:
        keystore.load(path, "battery staple")
    assert "battery" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:-20],
        lambda text: "[]",
        lambda text: "{}",
        lambda text: json.dumps({**json.loads(text), "version": 9}),
        lambda text: json.dumps({**json.loads(text), "address": "11" * 20}),
        lambda text: json.dumps({**json.loads(text), "crypto": {}}),
    ],
)
def test_damaged_file(path, signer, damage):
    """A truncated or altered file is called damaged."""
    path.write_text(damage(path.read_text()))
    with pytest.raises(keystore.KeystoreError, match="damaged"):
        keystore.load(path, PASSWORD)


def test_damaged_initialisation_vector(path, signer):
    """The format's MAC misses the initialisation vector; the address in the file catches what it
    would decrypt to."""
    content = json.loads(path.read_text())
    content["crypto"]["cipherparams"]["iv"] = "00" * 16
    path.write_text(json.dumps(content))
    with pytest.raises(keystore.KeystoreError, match="damaged"):
        keystore.load(path, PASSWORD)


def test_file_is_private_and_loads_again(path, signer):
    """The file is readable by its owner alone, holds no key in clear, and gives the same key
    back."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = keystore.load(path, PASSWORD)
    assert again.address == signer.address
    assert again.sign_digest(b"\7" * 32) == signer.sign_digest(b"\7" * 32)


def test_key_can_be_imported(path):
    """A given key is stored, and never shown by repr or pickle."""
    key = b"\x21" * 32
    signer = keystore.create(path, PASSWORD, scrypt_n=2, private_key=key)
    assert signer.address == Account.from_key(key).address
    assert key.hex() not in path.read_text()
    assert key.hex() not in repr(signer) + str(signer)
    with pytest.raises(TypeError, match="not copied"):
        pickle.dumps(signer)


def test_digest_must_be_32_bytes(signer):
    """Only 32 bytes are signed as a digest."""
    with pytest.raises(SignerError, match="32 bytes"):
        signer.sign_digest(b"\1" * 31)


def test_digest_signatures_are_canonical(signer):
    """Signatures are r || s || v with low s and v 27 or 28, and recover to the address."""
    for i in range(16):
        digest = bytes([i]) * 32
        signature = signer.sign_digest(digest)
        assert len(signature) == 65
        assert signature[64] in (27, 28)
        assert int.from_bytes(signature[32:64], "big") <= SECP256K1_N // 2
        recoverable = keys.Signature(signature[:64] + bytes([signature[64] - 27]))
        assert (
            recoverable.recover_public_key_from_msg_hash(digest).to_checksum_address()
            == signer.address
        )


@pytest.mark.parametrize("field", keystore.TRANSACTION_FIELDS)
def test_transaction_without_a_field(signer, field):
    """A transaction that lacks a field is refused by the field's name, never filled in."""
    with pytest.raises(SignerError, match=field):
        signer.sign_transaction({key: value for key, value in TRANSACTION.items() if key != field})


@pytest.mark.parametrize(
    "change",
    [{"gasPrice": 1}, {"type": 0}, {"type": 1}, {"nonsense": 1}, {"from": "0x" + "22" * 20}],
)
def test_other_transactions_are_refused(signer, change):
    """Legacy transactions, unknown fields and another sender are refused."""
    with pytest.raises(SignerError):
        signer.sign_transaction({**TRANSACTION, **change})


def test_transaction_is_signed(signer):
    """The raw bytes are an EIP-1559 envelope that recovers to the address; the same dict gives the
    same bytes and is not changed."""
    given = dict(TRANSACTION)
    signed = signer.sign_transaction(given)
    assert given == TRANSACTION
    assert signed.raw[0] == 2
    assert len(signed.hash) == 32
    assert Account.recover_transaction(signed.raw) == signer.address
    assert signer.sign_transaction(TRANSACTION) == signed
