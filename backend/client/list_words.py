"""What the header of a list calls its columns, in the languages of spreadsheets.

A name says what a column holds only if every word of it is known: `reward_rank` and
`total_transactions` are no amounts, though they hold a word of one.
"""

import re
import unicodedata
from enum import StrEnum


class Said(StrEnum):
    """What a column's name says that the column holds."""

    ADDRESS = "address"
    AMOUNT = "amount"
    OTHER = "other"
    """Certainly neither: a rank, an id, a time, a count."""
    UNKNOWN = "unknown"


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ADDRESS = _set("""
    address addresses addr wallet wallets walletaddress account accounts recipient recipients
    receiver reciever beneficiary payee claimant claimer destination delegate voter contributor
    holder user owner winner participant to
    adresse adressen walletadresse empfänger empfängeradresse destinataire bénéficiaire portefeuille
    dirección direccion billetera cartera destinatario beneficiario endereço endereco carteira
    indirizzo portafoglio adres ontvanger adress mottagare plånbok portfel odbiorca adresa
    peněženka cüzdan adresi alıcı адрес кошелек кошелёк получатель адреса гаманець отримувач
    地址 钱包 钱包地址 接收地址 收款地址 錢包 錢包地址 アドレス ウォレット ウォレットアドレス 受取人
    주소 지갑 지갑주소 alamat dompet địa chỉ ví ที่อยู่ عنوان العنوان المحفظة כתובת पता
""")  # noqa: RUF001
_ADDRESS_MODIFIERS = _set("""
    eth evm ethereum op optimism arb arbitrum base polygon 0x public key the of your my l2 onchain
    de la du der des del do da proxy safe smart
""")
_AMOUNT = _set("""
    amount amounts amt reward rewards airdrop payout allocation tokens quantity qty claimable bonus
    prize incentive rebate grant 配布数量
    betrag menge belohnung prämie auszahlung auszahlungsbetrag zuteilung montant quantité quantite
    récompense recompense importe monto cantidad recompensa quantia quantidade montante importo
    quantità ricompensa bedrag hoeveelheid beloning belopp belöning beløb beløp kwota ilość nagroda
    částka odměna összeg miktar tutar ödül сумма количество награда вознаграждение сума кількість
    винагорода 金额 数量 奖励 奖励数量 代币数量 空投数量 金額 數量 獎勵 報酬 報酬額 금액 수량 보상
    jumlah lượng จำนวน المبلغ الكمية סכום राशि मात्रा
""")
_AMOUNT_MODIFIERS = _set("""
    token total final in of the to pay send claim base unit units wei raw user eligible số de
""")
_SUMS = _set("total sum summe somme suma")
_TICKERS = _set("""
    op arb usdc usdt dai eth weth matic pol uni zk strk scr ens wld bnb avax celo gno xdai link aave
    crv comp mkr lisk mode velo aero snx
""")
_ALL = _AMOUNT_MODIFIERS | _SUMS | _TICKERS
_BASE_UNITS = _set("wei raw")
_OTHER = _set("""
    rank ranking rang id ids uid uuid index idx no nr num number row line position place tier level
    score year years month months week weeks day days date time timestamp unix hour epoch season
    round at on block blocks blocknumber chain chainid network nonce count counts transactions
    transaction tx txs txn txns swaps trades actions age percent percentage pct share ratio rate
    multiplier decimals version batch phone zip jahr année año anno ano datum fecha data 排名 编号
    順位 순위
""")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SIGNS = re.compile(r"[$€£¥₹₩₿%]")


def words(name: str) -> list[str]:
    """The words of a column's name, in small letters."""
    text = _CAMEL.sub(" ", unicodedata.normalize("NFKC", name)).casefold()
    # Marks belong to the letters of Thai and Hindi.
    kept = (c if c.isalnum() or unicodedata.category(c) in ("Mn", "Mc") else " " for c in text)
    return "".join(kept).split()


def said(name: str, symbol: str | None = None) -> Said:
    """What a name says. `symbol` is the reward token's, which may stand in it."""
    parts = words(name)
    if not parts or _SIGNS.search(name):
        return Said.UNKNOWN
    if any(part in _OTHER for part in parts):
        # A rank among rewards, or a number of tokens: it takes a person to tell.
        return Said.UNKNOWN if any(part in _AMOUNT for part in parts) else Said.OTHER
    own = frozenset(words(symbol or ""))
    if "base" in parts and not {"unit", "units"} & set(parts) and _made_of(parts, _AMOUNT, _ALL):
        return Said.UNKNOWN  # An amount before something is added to it or multiplied.
    # Where the token is known, another's symbol says that these are another token's amounts.
    tickers = own or _TICKERS
    if _made_of(parts, _ADDRESS, _ADDRESS_MODIFIERS):
        return Said.ADDRESS
    if _made_of(parts, _AMOUNT, _AMOUNT_MODIFIERS | _SUMS | tickers):
        return Said.AMOUNT
    # A total of what? Of tokens, if their symbol stands beside it.
    if any(part in tickers for part in parts) and _made_of(parts, _SUMS, tickers):
        return Said.AMOUNT
    return Said.UNKNOWN


def says_base_units(name: str) -> bool:
    """Whether a name says that amounts are in base units: wei, raw."""
    return any(part in _BASE_UNITS for part in words(name))


def _made_of(parts: list[str], kind: frozenset[str], modifiers: frozenset[str]) -> bool:
    return any(part in kind for part in parts) and all(
        part in kind or part in modifiers for part in parts
    )
