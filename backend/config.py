"""All settings, from the environment. A secret is a SecretStr: no log and no traceback shows it."""

from functools import lru_cache
from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of the API, the worker and the command line.

    The variable of each is GUERDON_<NAME>. The three URLs have their usual names too.
    """

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
    """What the operator's calls must present as `Authorization: Bearer`. Without the setting all
    are refused."""

    keystore: Path = Path("poster.json")
    """Keystore of the key that posts batches. It pays gas and can do nothing else."""
    payer_keystore: Path | None = None
    """Keystore of the key that pushes claims; the key that posts if not set."""
    owner_keystore: Path | None = None
    """Keystore of the key that deploys and funds from the command line. Servers do not need it."""
    keystore_password: SecretStr = SecretStr("")

    key: Path | None = None
    """Folder of the proving key (proving_key.bin, verifying_key.json, manifest.json). If not set, a
    new program gets the newest ceremony's key of its instance on this machine, else the development
    key; and proofs are made with the key of the program's deployed verifier."""
    allow_single_party_key_that_can_forge_everything: bool = False
    """Let a development key guard money on a chain that is not local. Whoever made the key can
    prove anything."""

    attestor_token: SecretStr = SecretStr("")
    """What attestors expect of the coordinator as `Authorization: Bearer`."""
    attestor_timeout_seconds: int = 60
    """Limit for one attestor and one batch, with the leaves that the attestor lacks."""

    batch_valid_seconds: int = 3600
    """How long an attested batch may wait for its transaction: the `validUntil` of its envelope."""
    rapidsnark: Path | None = None
    """An executable with rapidsnark's command line that makes the proofs instead of the library. It
    reads `zkey`."""
    zkey: Path | None = None
    """The ceremony's key file for rapidsnark, of the key whose verifier is deployed."""
    prove_attempts_max: int = 3
    """How often a proof of one batch may begin. If each attempt crashes, and other proofs do not,
    the batch is quarantined."""
    post_batches_max: int = Field(16, ge=1, le=64)
    """How many batches of a program one transaction posts, at most."""
    post_wait_seconds: float = Field(10.0, ge=0)
    """How long a proven batch waits, at most, for others of its program that are being signed or
    proven, to share their transaction."""
    tick_seconds: float = 1.0
    """How often the worker looks for work."""
    looks_per_second: int = Field(32, ge=1)
    """How many batches all workers of a database together look at in a second, at most. Each look
    asks the node, and perhaps the attestors. Programs and buckets take turns."""

    invariants_seconds: float = 300.0
    """How often the worker checks the invariants on new rows."""
    invariants_full_seconds: float = 86_400.0
    """How often the worker checks the invariants on all rows."""

    max_fee_per_gas_wei: int = Field(200 * 10**9, gt=0)
    """Most that any transaction bids for a unit of gas, the priority fee included."""
    priority_fee_min_wei: int = Field(0, ge=0)
    """Least priority fee for a unit of gas: for a chain whose blocks take nothing lower."""
    priority_fee_max_wei: int | None = Field(None, ge=0)
    """Most priority fee that a transaction offers at first; up to `max_fee_per_gas_wei` if not
    set."""
    request_bytes_max: int = 2 * 2**20
    """Largest request body in bytes: a thousand interactions take about 200 kB."""

    request_seconds: float = Field(10.0, gt=0)
    """How long a request's head, or a body that stalls, is waited for."""
    connections_max: int = Field(500, ge=1)
    """Connections of one API process. Each takes an open file."""

    metrics_token: SecretStr | None = None
    """What a request for the API's /metrics must present as `Authorization: Bearer`. Without the
    setting all are refused."""
    metrics_host: str = "127.0.0.1"
    """Address on which a worker serves its metrics, without a guard."""
    metrics_port: int | None = Field(None, ge=1, le=65535)
    """Port on which a worker serves its metrics; none if not set. The worker's processes share
    PROMETHEUS_MULTIPROC_DIR, a folder that is empty at their start."""

    @model_validator(mode="after")
    def _require_both(self) -> "Settings":
        if (self.rapidsnark is None) != (self.zkey is None):
            raise ValueError("GUERDON_RAPIDSNARK, GUERDON_ZKEY: expected both paths or neither")
        return self

    @model_validator(mode="after")
    def _require_fees(self) -> "Settings":
        most = self.priority_fee_max_wei
        most = self.max_fee_per_gas_wei if most is None else most
        if self.priority_fee_min_wei > most:
            raise ValueError(
                "GUERDON_PRIORITY_FEE_MIN_WEI: expected at most GUERDON_PRIORITY_FEE_MAX_WEI, or "
                f"GUERDON_MAX_FEE_PER_GAS_WEI if that is not set: {most}"
            )
        return self


@lru_cache
def settings() -> Settings:
    """The process's settings."""
    return Settings()
