"""The columns of a list: one is taken only if name and content agree, and nothing else could be
meant."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from backend.client.list_file import ListError
from backend.client.list_words import Said, said
from backend.client.reward_list import read_reward_list
from backend.kit.token import Token
from tests.support.engine import address

ALICE, BOB, CAROL = address("alice"), address("bob"), address("carol")


def read(path: Path, text: str, **options: object) -> dict[str, int]:
    file = path / "list.csv"
    file.write_text(text)
    return read_reward_list(file, **options).amounts


NO_AMOUNTS = [
    "total_transactions",
    "totalTransactions",
    "earned_at",
    "learning_score",
    "year",
    "Block Number",
    "chain_id",
    "rank",
    "id",
]


@pytest.mark.parametrize(
    "other",
    [
        *NO_AMOUNTS,
        "#",
        "reward_rank",
        "reward id",
        "usd",
        "value",
        "value_usd",
        "amount_usd",
        "Amount ($)",
        "balance",
        "snapshot_balance",
        "total",
        "total_earned",
        "points",
        "volume",
        "claimed_amount",
        "amount_paid",
        "Number of tokens",
        "op",
        "",
        "Unnamed: 2",
        "foo",
    ],
)
def test_only_an_amount_is_paid(tmp_path: Path, other: str) -> None:
    """A number beside the address whose name does not say an amount is never paid. Beside an amount
    it is left alone if it is certainly none, and else the user is asked."""
    with pytest.raises(ListError, match=r"--amount-column|looks like an amount"):
        read(tmp_path, f"address,{other}\n{ALICE},5\n{BOB},7\n")
    second = 5 if other == "chain_id" else 7  # a list pays on one chain
    for text in (
        f"address,{other},amount\n{ALICE},5,50\n{BOB},{second},70\n",
        f"amount,{other},address\n50,5,{ALICE}\n70,{second},{BOB}\n",
    ):
        if other in NO_AMOUNTS:
            assert read(tmp_path, text) == {ALICE: 50, BOB: 70}
        else:
            with pytest.raises(ListError, match="line 2") as caught:
                read(tmp_path, text)
            assert f"column `{other}` ('5')" in str(caught.value)
            assert "column `amount` ('50')" in str(caught.value)
        if other:
            assert read(tmp_path, text, amount_column="amount") == {ALICE: 50, BOB: 70}


@pytest.mark.parametrize(
    "shown", ['"1,250"', "1.05E+23", "", "5%", "$5", "(5)", "0x5", "n/a", "5 OP"]
)
@pytest.mark.parametrize("other", ["rank", "id", "block_number", "total_transactions"])
def test_no_other_column_stands_in(tmp_path: Path, shown: str, other: str) -> None:
    """An amount that cannot be read is told with its lines; another column is never paid
    instead."""
    rows = "".join(f"{i},{address(i)},{shown}\n" for i in range(1, 4))
    with pytest.raises(ListError, match=r"line 2") as caught:
        read(tmp_path, f"{other},address,amount\n{rows}")
    assert "column `amount`" in str(caught.value)


def test_real_amount_beside_what_is_none(tmp_path: Path) -> None:
    """What is certainly no amount does not disturb."""
    text = (
        "rank,address,amount,date,chain_id,note,block\n"
        f"1,{ALICE},50,2025-05-01,10,x,123\n2,{BOB},70,2025-05-02,10,7 days,124\n"
    )
    assert read(tmp_path, text) == {ALICE: 50, BOB: 70}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"a,b,x\n{ALICE},{BOB},5\n", r"`a`.*`b`.*several columns look like an address"),
        (f"address,referrer,amount\n{ALICE},{BOB},5\n", "several columns look like an address"),
        (
            f"address,referrer,amount\n{ALICE},,5\n{BOB},{ALICE},5\n",
            "several columns look like an address",
        ),
        (f"address,address,amount\n{ALICE},{BOB},5\n", "several columns look like an address"),
        (f"token_contract,amount\n{ALICE},5\n", "`token_contract`.*name does not say"),
        (f"wallet,token_address,amount\nalice.eth,{BOB},5\n", "`token_address`.*name does not say"),
        (f"address,x,y\n{ALICE},5,6\n", r"`x` \('5'\).*`y` \('6'\).*several columns.*--amount-col"),
        (f"address,amount,amount\n{ALICE},5,6\n", "several columns look like an amount"),
        (f"address,amount,reward\n{ALICE},5,6\n", "several columns look like an amount"),
        (f"address,amount,reward\n{ALICE},,6\n", "several columns look like an amount"),
        (f"address\n{ALICE}\n", "no column looks like an amount"),
        (f"address,amount_note\n{ALICE},x\n", "no column looks like an amount"),
        ("name,amount\nalice,5\n", "no column holds addresses"),
    ],
)
def test_what_is_not_clear_is_asked(tmp_path: Path, text: str, message: str) -> None:
    """Nothing is chosen: the error names the columns, a line and the option that decides."""
    with pytest.raises(ListError, match=message) as caught:
        read(tmp_path, text)
    assert "-column" in str(caught.value) or "looks like an amount" in str(caught.value)


def test_an_account_column_without_an_address(tmp_path: Path) -> None:
    """Each row says why its account is none."""
    with pytest.raises(
        ListError, match=r"line 2: column `wallet`: 'alice.eth' is a name"
    ) as caught:
        read(tmp_path, f"wallet,amount\nalice.eth,5\n{BOB[2:]},6\n")
    assert "line 3: column `wallet`" in str(caught.value)


NAMES = [
    ("Adresse", "Betrag"),
    ("Wallet-Adresse", "Auszahlungsbetrag"),
    ("Empfänger", "Menge"),
    ("adresse", "montant"),
    ("Bénéficiaire", "Récompense"),
    ("Dirección", "Cantidad"),
    ("billetera", "importe"),
    ("endereço", "quantia"),
    ("indirizzo", "importo"),
    ("ontvanger", "bedrag"),
    ("mottagare", "belopp"),
    ("odbiorca", "kwota"),
    ("cüzdan", "miktar"),
    ("адрес", "сумма"),
    ("кошелёк", "количество"),
    ("地址", "金额"),
    ("钱包地址", "数量"),
    ("アドレス", "金額"),
    ("지갑주소", "수량"),
    ("địa chỉ", "số lượng"),
    ("العنوان", "المبلغ"),
    ("walletAddress", "rewardAmount"),
    ("Recipient", "Token Amount"),
    ("WALLET_ADDRESS", "TOTAL_REWARDS"),
    ("to", "amount (wei)"),
    ("user", "op_total"),
    ("account", "Total USDC"),
]


@pytest.mark.parametrize(("account", "amount"), NAMES)
def test_names_in_many_languages(tmp_path: Path, account: str, amount: str) -> None:
    """Names that people give are known, in small and large letters."""
    assert (said(account), said(amount)) == (Said.ADDRESS, Said.AMOUNT)
    assert read(tmp_path, f"{amount};{account}\n5;{ALICE}\n") == {ALICE: 5}


def test_the_tokens_symbol_may_stand_in_a_name() -> None:
    """A total of the reward token is an amount; a total of something else is not."""
    assert said("total_XYZ") is Said.UNKNOWN
    assert said("total_XYZ", "XYZ") is Said.AMOUNT
    assert said("XYZ", "XYZ") is Said.UNKNOWN


@pytest.mark.parametrize(
    "text",
    [
        f"{ALICE},1,250\n{BOB},2,500\n",
        f"{ALICE},1,01\n",
        f"1,250,{ALICE}\n",
        f"address,amount,\n{ALICE},1,250\n",
    ],
)
def test_halves_of_a_number(tmp_path: Path, text: str) -> None:
    """1,250 without quotes is two cells in every row: with columns named, too, neither half is
    paid. Between semicolons a comma splits nothing."""
    amount = "amount" if text.startswith("address") else str(2 - text.startswith("1"))
    account = "address" if amount == "amount" else "3" if text.startswith("1") else "1"
    named = {"address_column": account, "amount_column": amount}
    with pytest.raises(ListError, match="may be one number with a comma in it"):
        read(tmp_path, text, **named)
    assert len(read(tmp_path, text.replace(",", ";"), **named)) == text.count("0x")


A_, B_, C_ = (address(f"halved {name}") for name in "abc")


def placed(text: str) -> str:
    """The list with addresses for the cells A, B and C."""
    for name, owner in (("A", A_), ("B", B_), ("C", C_)):
        text = re.sub(rf"(?m)(^|,){name}(?=,|$)", rf"\g<1>{owner}", text)
    return text


TOKEN = Token("0x4200000000000000000000000000000000000042", "OP", 18)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("A,1,250\nB,500,\n", ("1", "2")),
        ("A,1,250.00\nB,2,500.50\n", ("1", "2")),
        ("1,250,A\n500,,B\n", ("3", "1")),
        ("address,amount,\nA,1,250\nB,500,\n", ("address", "amount")),
        ("address,amount,\nA,1,250.00\nB,2,500.00\n", ("address", "amount")),
        ("address,amount,note\nA,1,250\nB,500,\n", ("address", "amount")),
        ("address,amount,note\nA,1,250\nB,2,500\n", ("address", "amount")),
        ("address,amount,note\nA,1,250\nB,500,x\nC,700,x\n", (None, None)),
        ("address,amount,memo\nA,1,250.50\nB,500,x\nC,7,x\n", (None, None)),
        ("address,amount,name,note\nA,1,250,000\nB,500,bob,x\nC,500,al,x\n", (None, None)),
        ("address,amount,date\nA,1,250\nB,500,2024-01-01\nC,5,2024-01-01\n", (None, None)),
        ("address,amount,note\nA,12,5\nB,7,x\nC,7,x\n", (None, None)),
        ('address,amount,note,label\nA,1,250,"250"\nB,500,x,y\nC,5,x,y\n', (None, None)),
    ],
)
def test_one_number_split_in_some_rows(
    tmp_path: Path, text: str, named: tuple[str | None, str | None]
) -> None:
    """An unquoted 1,250 in some of the rows, whatever stands in the others: no half is paid."""
    path = tmp_path / "list.csv"
    path.write_text(placed(text))
    with pytest.raises(ListError, match="may be one number with a comma in it"):
        read_reward_list(path, *named, decimals=18, token=TOKEN)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("address,amount,rank\nA,5,1\nB,6,\n", (None, None)),
        ("address,amount,score\nA,5,250\nB,6000,900\n", ("address", "amount")),
        ('address,amount,note\nA,"5","250"\nB,"6",x\n', (None, None)),
        ("address,amount,note\nA,5,x\nB,6,y\n", (None, None)),
    ],
)
def test_a_column_of_its_own(
    tmp_path: Path, text: str, named: tuple[str | None, str | None]
) -> None:
    """Numbers beside the amounts that are no part of them stop nothing."""
    path = tmp_path / "list.csv"
    path.write_text(placed(text))
    found = read_reward_list(path, *named, decimals=0, token=replace(TOKEN, decimals=0))
    assert next(iter(found.amounts.values())) == 5


@pytest.mark.parametrize(
    "text",
    [
        "address,usdc_amount\nA,5\n",
        "address,total_usdt\nA,5\n",
        "Address,Amount (ETH)\nA,0.5\n",
        "address,base_amount,multiplier\nA,100,2\nB,100,3\n",
        "address,reward,net\nA,5,4\nB,6,n/a\n",
        "address,reward,net\nA,5,1.2k\nB,6,1.3k\n",
        "address,reward,points\nA,5,-\nB,6,7\n",
    ],
)
def test_amounts_of_something_else(tmp_path: Path, text: str) -> None:
    """Another token's amounts, amounts before a factor, and rivals with gaps: the user must say."""
    path = tmp_path / "list.csv"
    path.write_text(placed(text))
    with pytest.raises(ListError, match="--amount-column"):
        read_reward_list(path, decimals=18, token=TOKEN)


@pytest.mark.parametrize(
    "text",
    [
        "address,amount,token\nA,5,OP\nB,6,ARB\n",
        "address,amount,symbol\nA,5,op\nB,6,USDC\n",
        f"token_address,address,amount\n{C_},A,1.5\n{TOKEN.address},B,2\n",
        "address,amount,decimals\nA,5,18\nB,6,6\n",
        "address,amount,chain_id\nA,5,10\nB,6,1\n",
        f"token_address,token_type,receiver,amount\n{C_},erc20,A,1.5\n",
    ],
)
def test_rows_of_another_token(tmp_path: Path, text: str) -> None:
    """A row that names another token, other decimals or another chain is refused by its line."""
    path = tmp_path / "list.csv"
    path.write_text(placed(text))
    with pytest.raises(ListError, match=r"line [23]: column `.+`: .+: expected "):
        read_reward_list(
            path, "receiver" if "receiver" in text else "address", decimals=18, token=TOKEN
        )


def test_a_list_of_any_token(tmp_path: Path) -> None:
    """The demo pays a test token from anybody's list: another token's name stops nothing."""
    path = tmp_path / "list.csv"
    path.write_text(placed("address,op_total,token\nA,5,OP\n"))
    named = replace(TOKEN, symbol="TRW", decimals=0)
    found = read_reward_list(path, decimals=0, token=named, any_token=True)
    assert found.amounts == {A_: 5}
    with pytest.raises(ListError, match="--amount-column"):
        read_reward_list(path, decimals=0, token=named)


@pytest.mark.parametrize(
    ("text", "said_of_it"),
    [
        (
            "Airdrop July,\naddress,amount\nA,5\n",
            "line 1: this is no header, line 2 looks like one",
        ),
        ("# airdrop\naddress,amount\nA,5\n", "line 1: this is no header, line 2 looks like one"),
        (f"{A_}=1.5\n{B_}=2\n", "line 1: no delimiter is between the cells"),
        ("<html>\n<table>\n", "line 1: no delimiter is between the cells"),
        ("address,amount\nA,5,\n", "line 2: expected 2 cells.*take out the delimiter at its end"),
        ("address,amount_wei\nA,5\n", "says base units.*say `--unit base`"),
    ],
)
def test_what_to_do_is_said(tmp_path: Path, text: str, said_of_it: str) -> None:
    """A refusal names what the operator changes in the file or in the command."""
    path = tmp_path / "list.csv"
    path.write_text(placed(text))
    with pytest.raises(ListError, match=said_of_it):
        read_reward_list(path, decimals=18, token=TOKEN)


def test_a_header_in_another_code_page(tmp_path: Path) -> None:
    """What the file was read as is said with the refusal."""
    path = tmp_path / "list.csv"
    path.write_bytes(
        f"\u0430\u0434\u0440\u0435\u0441,\u0441\u0443\u043c\u043c\u0430\n{A_},5\n".encode("cp1251")
    )
    with pytest.raises(ListError, match="read as cp1252: save it as UTF-8"):
        read_reward_list(path, decimals=18, token=TOKEN)
