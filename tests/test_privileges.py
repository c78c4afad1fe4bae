"""Giving up root: whom a run becomes, and that there is no way back from it."""

from __future__ import annotations

import json
import os
import pwd
import resource
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline import privileges
from pipeline.errors import FlowshardError, InternalError, OutputError, UsageError
from pipeline.privileges import Identity, become, lower, plan, raised, verify

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

root = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give it up"),
]
NOBODY = pwd.getpwnam("nobody")
WHO = Identity(NOBODY.pw_uid, NOBODY.pw_gid, "nobody")
ALICE = {"SUDO_UID": "4242", "SUDO_GID": "4343"}


def in_child(work: Callable[[], Any]) -> Any:
    """What ``work`` returns in a process of its own, or the kind and message of the FlowshardError that it raises."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(reading)
            try:
                found = work()
            except FlowshardError as error:
                found = [type(error).__name__, error.message]
            os.write(writing, json.dumps(found).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answers:
        answer = answers.read()
    os.waitpid(pid, 0)
    assert answer, "the child broke off"
    return json.loads(answer)


def own_status() -> dict[str, str]:
    """The fields of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def refused(call: Callable[[], object]) -> bool:
    """Whether the system forbids it."""
    try:
        call()
    except PermissionError:
        return True
    return False


@pytest.fixture
def open_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that anybody can reach: those of pytest are private, and so may be the one of this Python."""
    monkeypatch.setattr(privileges, "_CODE", ())
    path = Path(f"/tmp/flowshard-test-{os.getpid()}-{tmp_path.name}")
    path.mkdir(mode=0o755)
    yield path
    for each in sorted(path.rglob("*"), reverse=True):
        each.rmdir()
    path.rmdir()


def name_of(output: Path, environment: Mapping[str, str], *written: Path, user: str | None = None) -> str | None:
    """Whom a run would become."""
    identity, _ = plan(user, output, written, environment)
    return None if identity is None else identity.name


class TestAfterwards:
    pytestmark = root

    def test_nothing_is_left(self) -> None:
        """After the drop no process has a capability, a second group or a core dump, nor can it become root again,
        nor read what is root's."""

        def work() -> dict[str, Any]:
            become(WHO)
            return own_status() | {
                "uids": os.getresuid(), "gids": os.getresgid(), "groups": os.getgroups(),
                "root again": not refused(lambda: os.setuid(0)) or not refused(lambda: os.setresuid(-1, 0, -1)),
                "secrets": not refused(lambda: Path("/etc/shadow").read_bytes()),
                "hidden": os.stat("/proc/self/status").st_uid == 0,  # so others of this user may not look into it
                "core": resource.getrlimit(resource.RLIMIT_CORE),
            }  # fmt: skip

        found = in_child(work)
        none = "0" * 16
        assert {name: found[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == dict.fromkeys(
            ("Inh", "Prm", "Eff", "Bnd", "Amb"), none
        )
        assert found["NoNewPrivs"] == "1"
        assert (found["uids"], found["gids"], found["groups"]) == ([WHO.user] * 3, [WHO.group] * 3, [WHO.group])
        assert not found["root again"]
        assert not found["secrets"]
        assert found["hidden"]
        assert found["core"] == [0, 0]

    def test_children_have_no_more(self) -> None:
        """A process that is forked afterwards, were it to replace one that died, has no more than its parent."""

        def work() -> Any:
            become(WHO)
            return in_child(lambda: [own_status()["CapEff"], refused(lambda: os.setuid(0))])

        assert in_child(work) == ["0" * 16, True]

    def test_root_is_put_by_and_taken_up_again(self) -> None:
        """Between ``lower`` and ``become`` only what stands in ``raised`` is done as root."""

        def work() -> list[Any]:
            lower(WHO)
            before = refused(lambda: Path("/etc/shadow").read_bytes())
            with raised(WHO):
                meanwhile = refused(lambda: Path("/etc/shadow").read_bytes())
            after = refused(lambda: Path("/etc/shadow").read_bytes())
            become(WHO)
            return [before, meanwhile, after, refused(lambda: os.setuid(0))]

        assert in_child(work) == [True, False, True, True]

    def test_who_is_not_root_gives_up_what_else_there_is(self) -> None:
        """A service with CAP_NET_RAW as an ambient capability has none when its interfaces are open."""

        def work() -> list[str]:
            lower(WHO)  # root is still among the permitted ids, and so are its capabilities
            become(None)
            found = own_status()
            return [found["CapPrm"], found["CapEff"], found["NoNewPrivs"]]

        assert in_child(work) == ["0" * 16, "0" * 16, "1"]

    def test_what_a_program_file_gave_is_taken_up(self) -> None:
        """In a container the interpreter's file permits CAP_NET_RAW: it is had only to open interfaces."""

        def work() -> list[str]:
            lower(WHO)
            before = own_status()["CapEff"]
            with raised(None):
                meanwhile = own_status()["CapEff"]
            become(None)
            return [before, meanwhile, own_status()["CapEff"]]

        before, meanwhile, after = in_child(work)
        assert int(before, 16) == int(after, 16) == 0
        assert int(meanwhile, 16) & 1 << 13  # CAP_NET_RAW

    @pytest.mark.parametrize("half", [lambda: None, lambda: os.setresgid(*[WHO.group] * 3), lambda: lower(WHO)])
    def test_half_a_change_is_found_out(self, half: Callable[[], None]) -> None:
        """A drop that did not come through ends the run instead of going on with root's rights."""

        def work() -> None:
            half()
            verify(WHO)

        kind, message = in_child(work)
        assert kind == InternalError.__name__
        assert "privileges could not be given up" in message


class TestWhom:
    pytestmark = root

    def test_who_called_sudo_and_then_nobody(self, open_path: Path) -> None:
        """A new folder is made for who called sudo, or else for nobody."""
        assert name_of(open_path / "of-sudo" / "deep", ALICE) == "user 4242"
        assert name_of(open_path / "of-nobody", {}) == "nobody"
        assert {path.name: (path.stat().st_uid, path.stat().st_gid, path.stat().st_mode & 0o777)
                for path in open_path.rglob("*")} == {
            "of-sudo": (4242, 4343, 0o700), "deep": (4242, 4343, 0o700), "of-nobody": (WHO.user, WHO.group, 0o700),
        }  # fmt: skip

    @pytest.mark.parametrize(
        "hostile",
        [
            {"SUDO_UID": "0", "SUDO_GID": "0"},
            {"SUDO_UID": "0", "SUDO_GID": "4343"},
            {"SUDO_UID": "4242", "SUDO_GID": "0"},
            {"SUDO_UID": "4242"},
            {"SUDO_UID": "-1", "SUDO_GID": "4343"},
            {"SUDO_UID": "4294967295", "SUDO_GID": "4343"},
            {"SUDO_UID": "9" * 5000, "SUDO_GID": "4343"},
            {"SUDO_UID": "alice", "SUDO_GID": "4343"},
            {"SUDO_UID": " 4242", "SUDO_GID": "4343"},
            {"SUDO_UID": "٤٢٤٢", "SUDO_GID": "4343"},
            {"SUDO_UID": "", "SUDO_GID": ""},
        ],
    )
    def test_what_sudo_says_counts_only_if_it_names_an_ordinary_user(
        self, open_path: Path, hostile: dict[str, str]
    ) -> None:
        """Root's ids, negative numbers, numbers too large and text are as good as nothing: nobody it is."""
        assert name_of(open_path / "out", hostile) == "nobody"

    def test_a_folder_that_is_there_keeps_its_owner(self, open_path: Path) -> None:
        """A folder of root's is not handed over: root stays, and a warning says why and what to do."""
        theirs = open_path / "theirs"
        theirs.mkdir(mode=0o755)
        identity, remark = plan(None, theirs, (), ALICE)
        assert identity is None
        assert remark is not None
        assert remark[0] == (
            f"flowshard goes on as root: user 4242 may not write into {theirs}; nobody may not write into {theirs}"
        )
        assert theirs.stat().st_uid == 0
        os.chown(theirs, 4242, 4343)
        assert name_of(theirs, ALICE) == "user 4242"

    def test_every_folder_counts_and_so_does_the_way_there(self, open_path: Path, tmp_path: Path) -> None:
        """Where the report goes must be writable as well, and a private folder above cannot be passed."""
        assert name_of(open_path / "out", {}, open_path) is None
        assert not (open_path / "out").exists()
        assert name_of(tmp_path / "out", {}) is None

    def test_who_cannot_read_our_code_is_of_no_use(
        self, open_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Modules are imported after the drop as well: a Python in root's home is out of reach."""
        monkeypatch.setattr(privileges, "_CODE", (open_path, tmp_path))
        _, remark = plan(None, open_path / "out", (), {})
        assert remark is not None
        assert f"nobody may not read {tmp_path}, where flowshard runs from" in remark[0]

    def test_a_link_is_not_made_anybodys(self, open_path: Path) -> None:
        """A link that stands where the output folder is to be is not followed to hand over what it points to."""
        (open_path / "out").symlink_to("/nonexistent")
        try:
            assert name_of(open_path / "out", {}) is None
        finally:
            (open_path / "out").unlink()

    def test_named(self, open_path: Path) -> None:
        """--user takes a name or a number; root is left as it is without a warning."""
        for user in ("nobody", str(WHO.user)):
            assert name_of(open_path / "out", ALICE, user=user) == "nobody"
        for user in ("root", "0"):
            assert plan(user, open_path, (), ALICE) == (None, None)

    def test_named_and_not_possible(self, open_path: Path) -> None:
        """Who does not exist is a mistake; who may not write there is told at once."""
        for user in ("no-such-user", "-1", "4294967295", "99999999999999999999", "a\0b", ""):
            with pytest.raises(UsageError, match="there is no user"):
                plan(user, open_path, (), {})
        with pytest.raises(OutputError, match="nobody may not write into"):
            plan("nobody", open_path, (), {})

    def test_planning_leaves_us_as_we_were(self, open_path: Path) -> None:
        """Whether somebody may write is tried out, and undone."""
        before = os.getresuid(), os.getresgid(), os.getgroups()
        name_of(open_path / "out", ALICE)
        assert (os.getresuid(), os.getresgid(), os.getgroups()) == before

    def test_who_is_not_root_stays(self, open_path: Path) -> None:
        """An ordinary user becomes nobody else, and may name only themselves."""

        def work() -> list[Any]:
            os.setresgid(*[WHO.group] * 3)
            os.setresuid(*[WHO.user] * 3)
            assert plan(None, open_path, (), ALICE) == (None, None)
            assert plan("nobody", open_path, (), ALICE) == (None, None)
            return list(plan("root", open_path, (), {}))

        assert in_child(work) == ["UsageError", "--user root: only root may become another user"]
