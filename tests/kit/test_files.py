"""Files with secrets: private, whole, and what they were before in everything but their text."""

import os
import stat
from pathlib import Path

import pytest

from backend.kit.files import held, make_private, write_private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def belongs_to_another(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """`path` seems to be another user's: only root could make it so."""
    real = Path.stat

    class Another:
        st_uid, st_gid = 4242, 4243
        st_mode = 0o100600

    monkeypatch.setattr(Path, "stat", lambda at, **o: Another if at == path else real(at, **o))


@pytest.fixture(autouse=True)
def open_umask():
    """The usual one, under which a careless program's files can be read by all."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_new_file_and_its_folders_are_private(tmp_path: Path) -> None:
    """0600 and 0700; a folder that was there keeps its mode."""
    tmp_path.chmod(0o755)
    path = tmp_path / "a" / "b" / "secret"
    write_private(path, "x")
    assert [mode(one) for one in (tmp_path, path.parent.parent, path.parent, path)] == [
        0o755,
        0o700,
        0o700,
        0o600,
    ]


def test_a_file_keeps_mode_and_link(tmp_path: Path) -> None:
    """What a link leads to is replaced, with the mode that it had; nothing else is left in either
    folder."""
    real, link = tmp_path / "real" / "pins.json", tmp_path / "links" / "pins.json"
    write_private(real, "old")
    real.chmod(0o640)
    link.parent.mkdir()
    link.symlink_to(real)
    before = real.stat().st_ino
    write_private(link, "new")
    assert link.is_symlink()
    assert (real.read_text(), mode(real)) == ("new", 0o640)
    assert real.stat().st_ino != before, "written over in place: a reader may see half of it"
    assert [p.name for p in (*real.parent.iterdir(), *link.parent.iterdir())] == ["pins.json"] * 2


def test_a_link_that_leads_to_nothing_yet(tmp_path: Path) -> None:
    """The file is made where the link leads."""
    (tmp_path / "link").symlink_to(tmp_path / "far" / "file")
    write_private(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far" / "file").read_text() == "x"


def test_a_file_keeps_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an attestor's that root writes for it: the new file is given to the old one's owner and
    group before it has the name."""
    path = tmp_path / "pins.json"
    write_private(path, "old")
    given: list[tuple[object, ...]] = []
    belongs_to_another(monkeypatch, path)
    monkeypatch.setattr(os, "chown", lambda file, *to: given.append((file.read_text(), *to)))
    write_private(path, "new")
    assert given == [("new", 4242, 4243)]
    assert path.read_text() == "new"


def test_a_file_whose_owner_cannot_be_kept_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused with the file's name and what to do, and nothing is left behind."""
    path = tmp_path / "pins.json"
    write_private(path, "old")
    belongs_to_another(monkeypatch, path)

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refused)
    with pytest.raises(PermissionError, match="belongs to user 4242") as caught:
        write_private(path, "new")
    assert caught.value.filename == str(path)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_a_new_file_replaces_nothing(tmp_path: Path) -> None:
    """Neither a file nor a link that leads nowhere."""
    write_private(tmp_path / "key", "first", new=True)
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    for name in ("key", "link"):
        with pytest.raises(FileExistsError):
            write_private(tmp_path / name, "second", new=True)
    assert (tmp_path / "key").read_text() == "first"
    assert sorted(os.listdir(tmp_path)) == ["key", "link"]


def test_an_old_file_is_closed_to_others(tmp_path: Path) -> None:
    """A group that was let in stays; a file that is not there is made empty."""
    old = tmp_path / "old"
    old.write_text("rows")
    old.chmod(0o664)
    make_private(old)
    make_private(tmp_path / "new")
    assert (mode(old), old.read_text()) == (0o660, "rows")
    assert mode(tmp_path / "new") == 0o600


def test_one_at_a_time(tmp_path: Path) -> None:
    """A second one waits: here it would never end, so it is asked not to wait."""
    import fcntl

    with held(tmp_path):
        other = os.open(tmp_path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
