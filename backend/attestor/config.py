"""What an attestor is told at start, in one TOML or JSON file. Unknown keys are refused; relative
paths start at the file's folder.

chain_id = 31337
rpc_url = "http://127.0.0.1:8545"
keystore = "key.json"             # or "keystore:key.json"
password_file = "password"        # or password_env = "NAME OF A VARIABLE"
database = "attestor.sqlite"
pins = "partners.json"

[[programs]]
distributor = "0x..."
instance = "standard"
first_block = 0
finality = "finalized"            # or "safe", "latest", or a number of confirmations
predecessor = "0x..."             # the program that this one goes on for, which is listed as well
"""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from backend.chain.finality import FINALITY_EXPECTED, is_finality
from backend.errors import Invalid
from backend.kit.address import checked_address
from backend.kit.strict_json import loads_once
from backend.signer.factory import relative_to
from prover.circuit import CircuitError, Instance, load_instance


class ConfigError(Exception):
    """The configuration cannot be used; the message names the file and the key."""


def _address(value: str) -> str:
    try:
        return checked_address(value, "distributor")
    except Invalid as error:
        raise ValueError(error.message) from None


def _instance(value: str) -> str:
    try:
        load_instance(value)
    except CircuitError as error:
        raise ValueError(str(error)) from error
    return value


def _number_as_text(value: object) -> object:
    """A number of confirmations needs no quotes."""
    return str(value) if type(value) is int else value


def _finality(value: str) -> str:
    if not is_finality(value):
        raise ValueError(f"expected {FINALITY_EXPECTED}")
    return value


class _Strict(BaseModel):
    # Inputs are hidden in errors: a password in the wrong place must not be printed.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ProgramConfig(_Strict):
    """One program: pinned here, compared with the chain."""

    distributor: Annotated[str, AfterValidator(_address)]
    instance: Annotated[str, AfterValidator(_instance)]
    first_block: int = Field(0, ge=0)
    finality: Annotated[str, BeforeValidator(_number_as_text), AfterValidator(_finality)] = (
        "finalized"
    )
    predecessor: Annotated[str | None, AfterValidator(lambda it: it and _address(it))] = None

    @model_validator(mode="before")
    @classmethod
    def _without_families(cls, values: Any) -> Any:
        if isinstance(values, dict) and "families" in values:
            raise ValueError("families is read from the chain: remove the key")
        return values

    @property
    def sizes(self) -> Instance:
        return load_instance(self.instance)


class AttestorConfig(_Strict):
    """All settings. Times in seconds, sizes in bytes."""

    chain_id: int = Field(ge=1)
    rpc_url: str = Field(repr=False)
    programs: tuple[ProgramConfig, ...] = Field(min_length=1)
    keystore: Path
    password_file: Path | None = None
    password_env: str | None = None
    database: Path
    pins: Path
    token_file: Path | None = None
    token_env: str | None = None
    host: str = "127.0.0.1"
    port: int = Field(8700, ge=0, le=65535)
    body_bytes_max: int = Field(32 * 2**20, ge=1024)
    validity_seconds_max: int = Field(86_400, ge=1)

    @model_validator(mode="after")
    def _check(self) -> "AttestorConfig":
        if (self.password_file is None) == (self.password_env is None):
            raise ValueError("password_file, password_env: expected one of the two")
        if self.token_file is not None and self.token_env is not None:
            raise ValueError("token_file, token_env: expected at most one of the two")
        if len({program.distributor for program in self.programs}) != len(self.programs):
            raise ValueError("programs: a distributor is listed twice")
        self._check_predecessors()
        return self

    def _check_predecessors(self) -> None:
        listed = {program.distributor: program.predecessor for program in self.programs}
        named = [predecessor for predecessor in listed.values() if predecessor]
        for distributor, predecessor in listed.items():
            if predecessor is not None and predecessor not in listed:
                raise ValueError(
                    f"programs: {predecessor}, the predecessor of {distributor}, is not listed: "
                    "list it too, so that its batches are known"
                )
            if predecessor is not None and named.count(predecessor) > 1:
                # An event of two successors would be refused by neither.
                raise ValueError(f"programs: {predecessor} is the predecessor of two programs")
            if distributor in self.predecessors(distributor):
                raise ValueError(f"programs: {distributor} is a predecessor of itself")

    def predecessors(self, distributor: str) -> list[str]:
        """The program that this one goes on for, the one before that, and so on."""
        listed = {program.distributor: program.predecessor for program in self.programs}
        found: list[str] = []
        before = listed[distributor]
        while before is not None and before not in found:
            found.append(before)
            before = listed[before]
        return found

    @property
    def password(self) -> str:
        """The keystore's password. Raises ConfigError."""
        return _secret("password", self.password_file, self.password_env)

    @property
    def token(self) -> str | None:
        """The bearer token that requests must carry, None where anyone may ask. Raises
        ConfigError."""
        return (
            None
            if self.token_file is None and self.token_env is None
            else _secret("token", self.token_file, self.token_env)
        )


def _secret(name: str, path: Path | None, variable: str | None) -> str:
    if path is None:
        value = os.environ.get(variable or "", "")
        source = f"{name}_env: the variable {variable}"
    else:
        source = f"{name}_file: {path}"
        try:
            value = path.read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{source} cannot be read ({type(error).__name__})") from None
    if not value:
        raise ConfigError(f"{source} is empty")
    return value


def load_config(path: Path, **overrides: Any) -> AttestorConfig:
    """The configuration in `path` (.toml, else JSON); `overrides` that are not None replace keys.
    Raises ConfigError."""
    try:
        text = Path(path).read_text()
        values = tomllib.loads(text) if Path(path).suffix == ".toml" else loads_once(text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected an object")
    values |= {key: value for key, value in overrides.items() if value is not None}
    folder = Path(path).resolve().parent
    if isinstance(values.get("keystore"), str):
        values["keystore"] = relative_to(values["keystore"], folder)
    for key in ("password_file", "database", "pins", "token_file"):
        if isinstance(values.get(key), str):
            values[key] = folder / Path(values[key]).expanduser()
    try:
        return AttestorConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{path}: {where + ': ' if where else ''}{first['msg']}") from None
