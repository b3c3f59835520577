"""The keystore signer: files that are whole and private, errors that leak nothing, signatures as
the chain takes them."""

import json
import pickle
import stat
from pathlib import Path

import pytest
import rlp
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


FILES = Path(__file__).parent / "keystores"
FOUNDRY = json.loads((FILES / "foundry_style.json").read_text())
FOUNDRY_ADDRESS = "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"


def pbkdf2(content):
    """The same key under the other key derivation."""
    key = Account.decrypt(content, PASSWORD)
    return Account.encrypt(key, PASSWORD, kdf="pbkdf2", iterations=2)


@pytest.mark.parametrize(
    "content",
    [
        FOUNDRY,
        json.loads((FILES / "with_address.json").read_text()),
        *(
            FOUNDRY | {"address": address}
            for address in (
                FOUNDRY_ADDRESS,
                FOUNDRY_ADDRESS.lower(),
                FOUNDRY_ADDRESS.upper(),
                FOUNDRY_ADDRESS[2:].upper(),
                "",
                None,
            )
        ),
        {"Crypto": FOUNDRY["crypto"], "id": FOUNDRY["id"], "version": 3},
        FOUNDRY | {"x-ethers": {"client": "ethers.js", "gethFilename": "x"}, "name": "hot"},
        pbkdf2(FOUNDRY),
    ],
    ids=lambda content: str(content.get("address", "none")),
)
def test_keystores_of_other_tools(tmp_path, content):
    """With no address, as Foundry writes them, with one in any spelling, with a capital Crypto,
    with fields that we do not know: they open, to the same key."""
    path = tmp_path / "key.json"
    path.write_text("\ufeff" + json.dumps(content))
    assert keystore.load(path, PASSWORD).address == FOUNDRY_ADDRESS
    with pytest.raises(keystore.KeystoreError, match="wrong password"):
        keystore.load(path, "correct horsE")
    with pytest.raises(keystore.KeystoreError, match="it is empty"):
        keystore.load(path, "")


def test_an_address_that_is_not_the_keys(tmp_path):
    """Both are named: the file was edited, or is damaged where no checksum sees it."""
    path = tmp_path / "key.json"
    path.write_text(json.dumps(FOUNDRY | {"address": "11" * 20}))
    with pytest.raises(keystore.KeystoreError, match=f"0x1111.*{FOUNDRY_ADDRESS}"):
        keystore.load(path, PASSWORD)


def changed(**changes):
    """The file with changes of its `crypto`."""
    return FOUNDRY | {"crypto": FOUNDRY["crypto"] | changes}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("0x" + "ac" * 32, "damaged, or not a Web3 Secret Storage file"),
        ("[" * 100_000, "damaged"),
        ("[" * 20_000, "damaged"),
        (FOUNDRY | {"version": 4}, "expected version 3, got 4"),
        (FOUNDRY | {"crypto": []}, "damaged"),
        (FOUNDRY | {"address": "0x12"}, "address: expected 40 hex digits"),
        (FOUNDRY | {"address": 12}, "address: expected 40 hex digits"),
        (changed(cipher="aes-256-ctr"), "expected cipher aes-128-ctr, got 'aes-256-ctr'"),
        (changed(kdf="argon2id"), "expected kdf scrypt or pbkdf2, got 'argon2id'"),
        (changed(kdfparams=FOUNDRY["crypto"]["kdfparams"] | {"dklen": 16}), "damaged"),
        (changed(kdfparams=FOUNDRY["crypto"]["kdfparams"] | {"n": "many"}), "damaged"),
        (changed(kdfparams=FOUNDRY["crypto"]["kdfparams"] | {"n": 2**40}), "more memory"),
    ],
)
def test_a_file_that_does_not_open_says_why(tmp_path, content, said):
    """By its name, without a key and without a password."""
    path = tmp_path / "key.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(keystore.KeystoreError, match=said) as caught:
        keystore.load(path, PASSWORD)
    assert str(path) in str(caught.value)
    assert "ac" * 32 not in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_a_folder_in_place_of_a_file(tmp_path):
    """It is said so, and so is a file that may not be read."""
    with pytest.raises(keystore.KeystoreError, match="cannot be read: Is a directory"):
        keystore.load(tmp_path, PASSWORD)
    with pytest.raises(keystore.KeystoreError, match="cannot be read: Not a directory"):
        keystore.load(FILES / "foundry_style.json" / "key.json", PASSWORD)


def test_a_password_that_is_no_text(path):
    """Bytes of the environment that are no UTF-8 open what they closed."""
    password = b"caf\xe9".decode("utf-8", "surrogateescape")
    made = keystore.create(path, password, scrypt_n=2)
    assert keystore.load(path, password).address == made.address


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
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
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


@pytest.mark.parametrize("field", keystore.TRANSACTION_FIELDS + keystore.BID)
def test_transaction_without_a_field(signer, field):
    """A transaction that lacks a field is refused by the field's name, never filled in."""
    with pytest.raises(SignerError, match=field):
        signer.sign_transaction({key: value for key, value in TRANSACTION.items() if key != field})


@pytest.mark.parametrize(
    "change",
    [{"gasPrice": 1}, {"type": 0}, {"type": 1}, {"nonsense": 1}, {"from": "0x" + "22" * 20}],
)
def test_other_transactions_are_refused(signer, change):
    """Other types, two bids at once, unknown fields and another sender are refused."""
    with pytest.raises(SignerError):
        signer.sign_transaction({**TRANSACTION, **change})


LEGACY = {key: value for key, value in TRANSACTION.items() if key not in (*keystore.BID, "type")}
LEGACY["gasPrice"] = 7


def test_a_legacy_transaction_is_signed_for_one_chain(signer):
    """For a chain without base fees: EIP-155, so that no other chain takes it."""
    signed = signer.sign_transaction(dict(LEGACY))
    assert signed.raw[0] >= 0xC0
    assert Account.recover_transaction(signed.raw) == signer.address
    _, _, _, _, _, _, v, _, _ = rlp.decode(signed.raw)
    assert int.from_bytes(v) in (35 + 2 * LEGACY["chainId"], 36 + 2 * LEGACY["chainId"])


@pytest.mark.parametrize(
    "change",
    [{"chainId": None}, {"chainId": 0}, {"maxFeePerGas": 1}, {"type": 2}, {"accessList": []}],
)
def test_a_legacy_transaction_of_another_form_is_refused(signer, change):
    """Without a chain, or with anything of a later type."""
    with pytest.raises(SignerError):
        signer.sign_transaction({**LEGACY, **change})
    with pytest.raises(SignerError, match="chainId"):
        signer.sign_transaction({key: value for key, value in LEGACY.items() if key != "chainId"})


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
