"""Files are written whole or not at all, with the mode of any program's file, through links."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import warpfactor as wf
from warpfactor import writing
from warpfactor.cli import app
from warpfactor.writing import check_target, whole_file, whole_path

posix = pytest.mark.skipif(sys.platform == "win32", reason="no modes and owners")
is_root = hasattr(os, "geteuid") and os.geteuid() == 0
NOBODY = 65534


@pytest.fixture(scope="module")
def model() -> wf.Model:
    ratings = wf.datasets.make_ratings(20, 10, 80, random_state=0).ratings
    return wf.MatrixFactorization(2, n_epochs=1, verbose=0, random_state=0).fit(ratings).model_


@pytest.fixture(scope="module")
def saved(model: wf.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("writing") / "m.safetensors"
    model.save(path)
    return path


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0)
    os.umask(before)
    yield os.umask
    os.umask(before)


def put(path: Path) -> None:
    with whole_file(path) as file:
        file.write(b"new")


def command(saved: Path, name: str) -> Callable[[Path], None]:
    def run(path: Path) -> None:
        pairs = saved.with_name("pairs.csv")
        pairs.write_text("0,1\n2,3\n")
        asked = {"recommend": ("--all-users",), "predict": (str(pairs),)}
        args = [name, str(saved), *asked[name], "--output", str(path)]
        if not path.suffix:
            args += ["--format", "tsv"]
        result = CliRunner().invoke(app, args, catch_exceptions=False)
        assert result.exit_code == 0, result.output

    return run


# All that writes files. A mended fault of one must not live on in another.
@pytest.fixture(params=["whole_file", "save", "recommend", "predict"])
def write(request: pytest.FixtureRequest, model: wf.Model, saved: Path) -> Callable[[Path], None]:
    if request.param == "whole_file":
        return put
    return model.save if request.param == "save" else command(saved, request.param)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@posix
@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_a_new_file_gets_its_mode_by_the_umask(
    tmp_path: Path, write: Callable[[Path], None], umask: Callable[[int], int], mask: int
) -> None:
    umask(mask)
    write(tmp_path / "new")
    assert mode(tmp_path / "new") == 0o666 & ~mask
    assert os.listdir(tmp_path) == ["new"]
    assert (tmp_path / "new").stat().st_size > 0


@posix
@pytest.mark.parametrize("mask", [0o022, 0o077])
@pytest.mark.parametrize("before", [0o644, 0o600, 0o664, 0o666])
def test_an_existing_file_keeps_its_mode(
    tmp_path: Path,
    write: Callable[[Path], None],
    umask: Callable[[int], int],
    mask: int,
    before: int,
) -> None:
    umask(mask)
    old = tmp_path / "old"
    old.write_bytes(b"old")
    old.chmod(before)
    write(old)
    assert mode(old) == before
    assert old.read_bytes() != b"old"
    assert os.listdir(tmp_path) == ["old"]


@pytest.mark.skipif(not is_root, reason="only root may give files away")
def test_an_existing_file_keeps_its_owner_and_group(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    old = tmp_path / "old"
    old.write_bytes(b"old")
    os.chown(old, 12345, 54321)
    old.chmod(0o640)
    write(old)
    found = old.stat()
    assert (found.st_uid, found.st_gid, mode(old)) == (12345, 54321, 0o640)
    assert old.read_bytes() != b"old"


@posix
def test_what_is_being_written_cannot_be_read_by_more_than_the_file_it_replaces(
    tmp_path: Path,
) -> None:
    old = tmp_path / "old"
    old.write_bytes(b"secret")
    old.chmod(0o600)
    with whole_path(old) as temporary:
        assert mode(temporary) == 0o600


def to_a_file(folder: Path) -> Path:
    (folder / "real").write_bytes(b"old")
    (folder / "link").symlink_to("real")
    return folder / "link"


def to_nothing(folder: Path) -> Path:
    (folder / "link").symlink_to("real")
    return folder / "link"


def by_way_of_links(folder: Path) -> Path:
    (folder / "real").write_bytes(b"old")
    (folder / "second").symlink_to(folder / "real")
    (folder / "link").symlink_to("second")
    return folder / "link"


def by_way_of_links_to_nothing(folder: Path) -> Path:
    (folder / "second").symlink_to("real")
    (folder / "link").symlink_to("second")
    return folder / "link"


def from_another_folder(folder: Path) -> Path:
    (folder / "real").write_bytes(b"old")
    (folder / "current").mkdir()
    (folder / "current" / "link").symlink_to("../real")
    return folder / "current" / "link"


def by_a_linked_folder(folder: Path) -> Path:
    (folder / "models").mkdir()
    (folder / "current").symlink_to("models")
    (folder / "models" / "link").symlink_to("../real")
    return folder / "current" / "link"


@posix
@pytest.mark.parametrize(
    "make",
    [
        to_a_file,
        to_nothing,
        by_way_of_links,
        by_way_of_links_to_nothing,
        from_another_folder,
        by_a_linked_folder,
    ],
)
def test_links_stay_and_the_file_they_lead_to_is_written(
    tmp_path: Path, write: Callable[[Path], None], make: Callable[[Path], Path]
) -> None:
    path = make(tmp_path)
    links = {each: os.readlink(each) for each in tmp_path.rglob("*") if each.is_symlink()}
    write(path)
    assert {each: os.readlink(each) for each in tmp_path.rglob("*") if each.is_symlink()} == links
    real = tmp_path / "real"
    assert not real.is_symlink()
    assert real.read_bytes() not in (b"", b"old")
    assert not [each for each in tmp_path.rglob("*") if each.suffix == ".tmp"]


class Stop(BaseException):
    pass


# Whether the temporary file has no name.
NAMELESS = sys.platform == "linux"


@posix
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of fork()
def test_what_a_killed_write_has_left_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(writing.os, "O_TMPFILE", raising=False)  # as where files need a name
    target = tmp_path / "target"
    target.write_bytes(b"old")

    def killed() -> None:
        child = os.fork()
        if child == 0:
            with whole_file(target) as file:
                file.write(b"half")
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)

    killed()
    assert len(os.listdir(tmp_path)) == 2
    with whole_file(target) as first:
        first.write(b"first")
        # One that is still being written is left alone.
        with whole_file(target) as second:
            second.write(b"second")
            assert len(os.listdir(tmp_path)) == 3
        assert target.read_bytes() == b"second"
    assert target.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["target"]
    killed()
    monkeypatch.undo()
    with whole_file(target) as file:
        file.write(b"new")
    assert os.listdir(tmp_path) == ["target"]
    # C++ uses the same names.
    ratings = wf.Ratings.from_arrays([1, 2], [3, 4], [5.0, 4.0])
    model = wf.MatrixFactorization(n_factors=1, n_epochs=1, reg=0.1, verbose=0)
    monkeypatch.delattr(writing.os, "O_TMPFILE", raising=False)
    target.unlink()
    killed()
    assert len(os.listdir(tmp_path)) == 1
    model.fit(ratings, checkpoint=target)
    assert os.listdir(tmp_path) == ["target"]


@pytest.mark.parametrize("error", [ValueError("bad"), OSError("odd"), KeyboardInterrupt(), Stop()])
@pytest.mark.parametrize("old", [b"old", None])
def test_a_write_that_ends_early_leaves_what_was_there(
    tmp_path: Path, error: BaseException, old: bytes | None
) -> None:
    target = tmp_path / "target"
    if old is not None:
        target.write_bytes(old)
    before = [(each.name, each.read_bytes(), mode(each)) for each in tmp_path.iterdir()]
    with pytest.raises(type(error)) as raised, whole_file(target) as file:
        file.write(b"half")
        file.flush()
        beside = len(os.listdir(tmp_path)) - len(before)
        assert beside == (0 if NAMELESS else 1)
        raise error
    assert raised.value is error
    with pytest.raises(type(error)), whole_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert [(each.name, each.read_bytes(), mode(each)) for each in tmp_path.iterdir()] == before


@posix
@pytest.mark.parametrize("what", ["whole_file", "save", "recommend"])
@pytest.mark.parametrize("old", [b"old", None])
def test_a_full_disk_leaves_what_was_there_and_is_named(
    tmp_path: Path, saved: Path, what: str, old: bytes | None
) -> None:
    """By a limit on the size of files: the write fails within it, as on a full disk."""
    target = tmp_path / "target.csv"
    if old is not None:
        target.write_bytes(old)
    code = f"""
import resource, sys
import warpfactor as wf
from warpfactor.cli import app
from warpfactor.writing import whole_file
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
if {what!r} == "recommend":
    app(["recommend", {str(saved)!r}, "--all-users", "-n", "10", "-o", {str(target)!r}])
try:
    if {what!r} == "save":
        wf.load({str(saved)!r}).save({str(target)!r})
    else:
        with whole_file({str(target)!r}) as file:
            file.write(b"x" * 100_000)
except OSError as error:
    sys.exit(str(error))
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 1, run
    [line] = run.stderr.splitlines()
    assert str(target) in line
    assert os.strerror(errno.EFBIG) in line
    assert os.listdir(tmp_path) == ([] if old is None else ["target.csv"])
    assert old is None or target.read_bytes() == old


@posix
def test_a_pipe_is_written_to(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "plain")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write(pipe)
    reader.join(timeout=30)
    assert got[0] == (tmp_path / "plain").read_bytes()
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["pipe", "plain"]


@posix
@pytest.mark.parametrize("name", ["/dev/null", "a link to it"])
def test_a_device_stays_a_device(tmp_path: Path, write: Callable[[Path], None], name: str) -> None:
    path = Path(name)
    if name != "/dev/null":
        path = tmp_path / "link"
        path.symlink_to("/dev/null")
    before = os.listdir("/dev")
    write(path)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert sorted(os.listdir("/dev")) == sorted(before)
    assert path.is_symlink() == (name != "/dev/null")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("what", ["recommend", "save"])
def test_a_redirected_standard_output_is_added_to(
    tmp_path: Path, saved: Path, name: str, what: str
) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"before\n")
    code = f"""
import warpfactor as wf
from warpfactor.cli import app
if {what!r} == "save":
    wf.load({str(saved)!r}).save({name!r})
else:
    app(["recommend", {str(saved)!r}, "--all-users", "-o", {name!r}])
"""
    with log.open("ab") as sink:
        subprocess.run([sys.executable, "-c", code], stdout=sink, check=True, timeout=60)
    before, _, added = log.read_bytes().partition(b"\n")
    assert before == b"before"
    if what == "save":
        assert sorted(added) == sorted(saved.read_bytes())
    else:
        assert added.startswith(b"user\trank\titem\tscore\n")
    assert os.listdir(tmp_path) == ["log"]


def test_the_name_may_be_as_long_as_names_may_be(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    name = "m" * 255
    write(tmp_path / name)
    assert os.listdir(tmp_path) == [name]


def folder(path: Path) -> Path:
    return path


def missing_folder(path: Path) -> Path:
    return path / "gone" / "m"


def file_as_folder(path: Path) -> Path:
    (path / "file").write_bytes(b"")
    return path / "file" / "m"


def link_to_a_folder(path: Path) -> Path:
    (path / "link").symlink_to(path)
    return path / "link"


def link_into_a_missing_folder(path: Path) -> Path:
    (path / "link").symlink_to("gone/m")
    return path / "link"


def loop(path: Path) -> Path:
    (path / "a").symlink_to("b")
    (path / "b").symlink_to("a")
    return path / "a"


def long_name(path: Path) -> Path:
    return path / ("m" * 256)


@posix
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (folder, IsADirectoryError, "is a folder: give the name of a file in it"),
        (missing_folder, FileNotFoundError, "there is no folder .*gone: create it first"),
        (file_as_folder, NotADirectoryError, "cannot be written: Not a directory"),
        (link_to_a_folder, IsADirectoryError, "is a folder: give the name of a file in it"),
        (
            link_into_a_missing_folder,
            FileNotFoundError,
            "it is a link to .*gone/m, and there is no folder .*gone: create it first",
        ),
        (loop, OSError, "cannot be written: .*symbolic links"),
        (long_name, OSError, "cannot be written: File name too long"),
    ],
)
def test_what_cannot_be_written_is_named_with_the_fix(
    tmp_path: Path, saved: Path, model: wf.Model, make: Callable, error: type, message: str
) -> None:
    path = make(tmp_path)
    for write in (check_target, put, model.save):
        with pytest.raises(error, match=message) as raised:
            write(path)
        assert str(path) in str(raised.value)
    args = ["recommend", str(saved), "--all-users", "--format", "csv", "-o", str(path)]
    result = CliRunner().invoke(app, args, catch_exceptions=False)
    assert result.exit_code == 1
    assert result.stderr == f"warpfactor: error: --output: {raised.value}\n"


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that other users reach: pytest's own are closed to them."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    subprocess.run(["rm", "-rf", str(path)], check=True)


def as_nobody(code: str, path: Path) -> str:
    """Run code without root's rights, which no mode holds up; `put(path)` writes to the path."""
    drop = f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})" if is_root else ""
    # The modules are imported before: nobody may not read an environment of root's.
    program = f"""
import errno, os, pathlib, shutil, sys, tempfile
from warpfactor.writing import check_target, whole_file
path = {str(path)!r}
def put(path):
    with whole_file(path) as file:
        file.write(b"new")
{drop}
try:
    {code}
except OSError as error:
    print(type(error).__name__, error)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return run.stdout


@posix
@pytest.mark.parametrize("step", ["check_target(path)", "put(path)"])
def test_a_folder_that_is_not_writable_is_named(shared_folder: Path, step: str) -> None:
    shared_folder.chmod(0o555)
    said = as_nobody(step, shared_folder / "m")
    assert said.startswith(f"PermissionError {shared_folder / 'm'} cannot be written: the folder ")
    assert f"{shared_folder} is not writable" in said
    assert os.listdir(shared_folder) == []


@posix
@pytest.mark.parametrize("step", ["check_target(path)", "put(path)"])
def test_a_file_that_is_write_protected_is_kept(shared_folder: Path, step: str) -> None:
    target = shared_folder / "m"
    target.write_bytes(b"old")
    target.chmod(0o444)
    shared_folder.chmod(0o777)
    said = as_nobody(step, target)
    assert f"PermissionError {target} cannot be written: the file is write-protected" in said
    assert target.read_bytes() == b"old"


@pytest.mark.skipif(not is_root, reason="needs files of two users")
def test_a_file_of_somebody_else_in_a_sticky_folder_is_written_in_place(
    shared_folder: Path,
) -> None:
    """Such a folder, as /tmp is, lets nobody replace the files of others."""
    target = shared_folder / "m"
    target.write_bytes(b"longer than what comes")
    target.chmod(0o666)
    shared_folder.chmod(0o1777)
    assert as_nobody("put(path)", target) == ""
    assert target.read_bytes() == b"new"
    assert (target.stat().st_uid, mode(target)) == (0, 0o666)
    assert os.listdir(shared_folder) == ["m"]


@pytest.mark.skipif(not is_root, reason="needs files of two users")
def test_a_group_that_cannot_be_kept_gives_no_other_group_its_rights(shared_folder: Path) -> None:
    target = shared_folder / "m"
    target.write_bytes(b"old")
    os.chown(target, NOBODY, 54321)
    target.chmod(0o660)
    shared_folder.chmod(0o777)
    assert as_nobody("put(path)", target) == ""
    assert (target.stat().st_gid, mode(target)) == (NOBODY, 0o600)


def test_a_file_that_is_a_mount_is_written_in_place(
    tmp_path: Path, write: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that is given a single file; mounting takes rights that tests lack."""
    target = tmp_path / "m"
    target.write_bytes(b"old")
    inode = target.stat().st_ino

    def busy(source: object, target: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(source), None, str(target))

    monkeypatch.setattr(writing.os, "replace", busy)
    write(target)
    assert target.read_bytes() not in (b"", b"old")
    assert target.stat().st_ino == inode
    assert os.listdir(tmp_path) == ["m"]
