"""All settings, from the environment. Secrets are SecretStr, so that no log or traceback shows
them."""

from functools import lru_cache
from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of the API, the worker and the CLI. Each is GUERDON_<NAME>; the three URLs also go
    by their usual names."""

    model_config = SettingsConfigDict(
        env_prefix="GUERDON_", extra="ignore", hide_input_in_errors=True
    )

    database_url: str = Field(
        "postgresql://postgres@localhost/guerdon",
        validation_alias=AliasChoices("GUERDON_DATABASE_URL", "DATABASE_URL"),
    )
    redis_url: str = Field(
        "redis://localhost:6379/0", validation_alias=AliasChoices("GUERDON_REDIS_URL", "REDIS_URL")
    )
    rpc_url: str = Field(
        "http://127.0.0.1:8545", validation_alias=AliasChoices("GUERDON_RPC_URL", "RPC_URL")
    )

    operator_api_key: SecretStr | None = None
    """What the operator's calls must present as `Authorization: Bearer`. Without it they are all
    refused."""

    keystore: Path = Path("poster.json")
    """Keystore of the key that posts batches. It pays gas and can do nothing else."""
    payer_keystore: Path | None = None
    """Keystore of the key that pushes claims; the posting key if not set."""
    owner_keystore: Path | None = None
    """Keystore of the key that deploys and funds from the command line; the posting key if not set.
    Servers do not need it."""
    keystore_password: SecretStr = SecretStr("")

    key: Path | None = None
    """Folder of the proving key (proving_key.bin, verifying_key.json, manifest.json). If not set, a
    new program gets the newest ceremony's key of its instance on this machine, else the development
    key; and proofs are made with the key of the program's deployed verifier."""
    allow_single_party_key_that_can_forge_everything: bool = False
    """Let a development key guard money on a chain that is not local. Whoever made the key can
    prove anything."""

    attestor_token: SecretStr = SecretStr("")
    """What attestors ask of whoever sends them batches, as `Authorization: Bearer`."""
    attestor_timeout_seconds: int = 60
    """For all that passes with one attestor about one batch, leaves that it lacks included."""

    batch_valid_seconds: int = 3600
    """How long an attested batch may wait for its transaction: the `validUntil` of its envelope."""
    rapidsnark: Path | None = None
    """An executable with rapidsnark's command line that makes the proofs instead of the library; it
    takes `zkey`."""
    zkey: Path | None = None
    """The ceremony's key file for it: of the key whose verifier is deployed."""
    prove_attempts_max: int = 3
    """How often a proof may be begun for one batch: if it crashes each time, and other proofs do
    not, the batch is set aside."""
    tick_seconds: float = 1.0
    """How often the worker looks for work that nobody announced."""

    invariants_seconds: float = 300.0
    """How often the worker checks that money is conserved, in what is new."""
    invariants_full_seconds: float = 86_400.0
    """How often in everything there ever was."""

    max_fee_per_gas_wei: int = 200 * 10**9
    request_bytes_max: int = 2 * 2**20
    """Largest request body in bytes: a thousand interactions take about 200 kB."""

    @model_validator(mode="after")
    def _require_both(self) -> "Settings":
        if (self.rapidsnark is None) != (self.zkey is None):
            raise ValueError("GUERDON_RAPIDSNARK, GUERDON_ZKEY: expected both paths or neither")
        return self


@lru_cache
def settings() -> Settings:
    """The process's settings."""
    return Settings()
