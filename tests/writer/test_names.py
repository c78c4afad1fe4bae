"""Names: the rules as a table, and that default names tell streams apart and stay in the folder."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import LONGEST_NAME, LONGEST_WITH_KIND, NAME_CODES, check_name_format
from pipeline.errors import UsageError
from pipeline.tree import fits
from pipeline.writer.names import (
    OBJECTS,
    Endpoints,
    Names,
    ObjectNames,
    Pattern,
    endpoints,
    ipv4,
    ipv6,
    networks,
    provisional,
)
from workers.analyzers import protocols
from workers.limits import Limits

OPENED = 1_620_000_000_987_654_321
PLAIN = Endpoints("192.168.1.100", 12345, "93.184.216.34", 80, (), 2)
TAGGED = PLAIN._replace(networks=(10, 20))
SIX = Endpoints("2001:db8::1", 12345, "::1", 80, (10,), 10)


@pytest.mark.parametrize(
    ("name_format", "timestamp", "ends", "counter", "expected"),
    [
        (None, False, PLAIN, 0, "192.168.1.100.12345-93.184.216.34.80"),
        (None, True, PLAIN, 0, "1620000000T192.168.1.100.12345-93.184.216.34.80"),
        (None, False, PLAIN, 5, "192.168.1.100.12345-93.184.216.34.80c0005"),
        (None, False, PLAIN, 12345, "192.168.1.100.12345-93.184.216.34.80c12345"),
        (None, False, PLAIN._replace(networks=(10,)), 0, "192.168.1.100.12345-93.184.216.34.80--10"),
        (None, False, TAGGED, 0, "192.168.1.100.12345-93.184.216.34.80--10.20"),
        (None, True, TAGGED, 7, "1620000000T192.168.1.100.12345-93.184.216.34.80--10.20c0007"),
        (None, False, PLAIN._replace(networks=(0,)), 0, "192.168.1.100.12345-93.184.216.34.80--0"),
        (None, False, PLAIN._replace(networks=(10, "vx5001")), 0, "192.168.1.100.12345-93.184.216.34.80--10.vx5001"),
        (None, False, PLAIN._replace(networks=("ge7", 20)), 3, "192.168.1.100.12345-93.184.216.34.80--ge7.20c0003"),
        (None, False, SIX, 0, "2001:db8::1.12345-::1.80--10"),
        ("%A", False, PLAIN, 0, "192.168.1.100"),
        ("%a", False, PLAIN, 0, "12345"),
        ("%B", False, PLAIN, 0, "93.184.216.34"),
        ("%b", False, PLAIN, 0, "80"),
        ("%T", False, PLAIN, 0, "1620000000"),
        ("%V", False, PLAIN, 0, ""),
        ("x%Vx", False, TAGGED, 0, "x10.20x"),
        ("x%Vx", False, TAGGED._replace(networks=(10, "vx5001", 20)), 0, "x10.20x"),
        ("%%", False, PLAIN, 0, "%"),
        ("%%A", False, PLAIN, 0, "%A"),
        ("%%%A%%", False, PLAIN, 0, "%192.168.1.100%"),
        ("fixed", False, PLAIN, 3, "fixedc0003"),
        ("fixed", True, PLAIN, 3, "1620000000Tfixedc0003"),
        ("%A.%a-%B.%b", False, PLAIN, 0, "192.168.1.100.12345-93.184.216.34.80"),
        # what tells one stream from another goes to the last component
        ("%T/%A/%a-%B.%b", False, PLAIN, 0, "1620000000/192.168.1.100/12345-93.184.216.34.80"),
        ("%A/%a", False, PLAIN, 3, "192.168.1.100/12345c0003"),
        ("%A/%a", True, PLAIN, 3, "192.168.1.100/1620000000T12345c0003"),
        ("%%/%%A", False, PLAIN, 0, "%/%A"),
        # a folder always has a name
        ("%V/%A", False, PLAIN, 0, "_/192.168.1.100"),
        ("%V/%A", True, TAGGED, 0, "10.20/1620000000T192.168.1.100"),
        (".%V/..%V/%V%V/x", False, PLAIN, 0, "._/.._/_/x"),
        (".%V/..%V/%V%V/x", False, TAGGED, 0, ".10.20/..10.20/10.2010.20/x"),
        ("a%V/x", False, PLAIN, 0, "a/x"),
        ("a/%V", False, PLAIN, 0, "a/"),
    ],
)
def test_a_name(name_format: str | None, timestamp: bool, ends: Endpoints, counter: int, expected: str) -> None:
    """Each part of a name as README has it."""
    assert Names(name_format, timestamp=timestamp).name(ends, OPENED, counter) == expected


@pytest.mark.parametrize(("opened", "second"), [(0, "0"), (999_999_999, "0"), (-1, "-1"), (2**63 - 1, "9223372036")])
def test_the_time_is_the_second_below(opened: int, second: str) -> None:
    """%T and -T round down, in the years before 1970 too."""
    assert Names("%T", timestamp=False).name(PLAIN, opened, 0) == second
    assert Names("n", timestamp=True).name(PLAIN, opened, 0) == second + "Tn"


def test_only_a_format_is_coarse() -> None:
    """Default names are final at once; a format's may be wanted by several streams."""
    assert not Names(None, timestamp=True).coarse
    assert Names("%A.%a-%B.%b", timestamp=False).coarse


@pytest.mark.parametrize(("stream", "expected"), [(2, "~1"), (3, "~1.1"), (2**40, f"~{2**39}")])
def test_a_provisional_suffix(stream: int, expected: str) -> None:
    """The connection's id, and the direction where it is the answering one."""
    assert provisional(stream) == expected


def test_the_longest_name_is_known_beforehand() -> None:
    """No code becomes longer than the limit on -F reckons with."""
    widest = Endpoints("ffff:" * 7 + "ffff", 65535, "ffff:" * 7 + "ffff", 65535, (4095,) * 8, 10)
    for code, most in NAME_CODES.items():
        for opened in (-(2**63), 2**63 - 1):
            assert len(Names("%" + code, timestamp=False).name(widest, opened, 0)) <= most
    suffix = provisional(2**48 + 1)  # twice: another file can have the name
    for more in ("conflicts-" + suffix, suffix + "@" + str(2**62)):
        assert LONGEST_NAME + len("9223372036T" + "c9999999" + more + suffix) <= 255
    kind = max((kind for name in protocols.names() for kind in protocols.protocol(name).kinds), key=len)
    codings = "-DEFLATE" * Limits().coding_layers
    derived = suffix + f"-{kind}-9999999" + codings + suffix
    assert LONGEST_WITH_KIND + len("9223372036T" + "c9999999" + derived) <= 255


# --------------------------------------------------------------------------- keys

addresses4 = st.integers(0, 2**32 - 1)
addresses6 = st.integers(0, 2**128 - 1)
ports = st.integers(0, 65535)


def slots(network: int | str) -> int:
    return 1 if isinstance(network, int) else 2


vlans = st.integers(0, 4095)
overlays = st.builds("{}{}".format, st.sampled_from(["vx", "ge"]), st.integers(0, 3) | st.integers(0, 2**24 - 1))
where = st.lists(vlans | overlays, max_size=8).filter(lambda made: sum(map(slots, made)) <= 8)


def words(version: int, networks: Sequence[int | str]) -> list[int]:
    """The last two words of a key."""
    values: list[int] = []
    marks = 0
    for each in networks:
        if isinstance(each, int):
            values.append(each)
        else:
            marks |= (3 if each[:2] == "ge" else 1) << len(values)
            values += divmod(int(each[2:]), 4096)
    bits = sum(value << 12 * i for i, value in enumerate(values))
    return [version | len(values) << 4 | (bits & (1 << 48) - 1) << 8 | marks << 56, bits >> 48]


@st.composite
def flows(draw: st.DrawFn) -> tuple[list[int], int]:
    version = draw(st.sampled_from([4, 6]))
    small = st.integers(0, 3)  # so that keys often differ in one word only
    a, b = (draw(small | (addresses4 if version == 4 else addresses6)) for _ in range(2))
    a_port, b_port = draw(small | ports), draw(small | ports)
    low = 2**64 - 1
    return [
        a >> 64, a & low, b >> 64, b & low, a_port << 16 | b_port, *words(version, draw(where))
    ], draw(st.integers(0, 1))  # fmt: skip


@given(flows())
def test_endpoints_of_a_key(flow: tuple[list[int], int]) -> None:
    """Addresses, ports, tags and family are those of the key, seen from the side that sends."""
    key, side = flow
    ends = endpoints(key, side)
    kind = IPv4Address if key[5] & 15 == 4 else IPv6Address
    a, b = kind(key[0] << 64 | key[1]), kind(key[2] << 64 | key[3])
    expected = [(a, key[4] >> 16), (b, key[4] & 0xFFFF)]
    assert [(kind(ends.src), ends.sport), (kind(ends.dst), ends.dport)] == expected[:: -1 if side else 1]
    assert ends.family == (2 if key[5] & 15 == 4 else 10)
    assert words(key[5] & 15, ends.networks) == key[5:]


@given(st.lists(st.tuples(flows(), st.integers(0, 20_000)), min_size=2, max_size=8), st.booleans())
def test_default_names_are_never_shared(found: list[tuple[tuple[list[int], int], int]], timestamp: bool) -> None:
    """Two streams of one name would be one direction between the same endpoints with the same counter."""
    names = Names(None, timestamp=timestamp)
    told = {(endpoints(key, side), counter) for (key, side), counter in found}
    assert len({names.name(ends, OPENED, counter) for ends, counter in told}) == len(told)


@given(flows(), st.integers(0, 2**32 - 1), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.integers(2, 2**48))
def test_default_names_stay_in_the_folder(
    flow: tuple[list[int], int], counter: int, opened: int, timestamp: bool, stream: int
) -> None:
    """One path component of a few harmless characters, short enough for any file system; the output folder knows
    it for one of ours, with every suffix."""
    name = Names(None, timestamp=timestamp).name(endpoints(*flow), opened, counter)
    for whole in (name, name + provisional(stream), f"{name}@{stream}", f"conflicts-{name}"):
        assert re.fullmatch(r"[A-Za-z0-9._:@~-]+", whole)
        assert whole not in {".", ".."}
        assert len(whole) <= 255
        assert Pattern(None, timestamp=timestamp).is_file(whole)


# --------------------------------------------------------------------------- formats

parts_of_formats = st.lists(
    st.sampled_from(
        ["%A", "%a", "%B", "%b", "%T", "%V", "%%", ".", "..", "_", "~", "c", "@1", "-", "T", "é", "/", "/"]
    ),
    min_size=1,
    max_size=9,
).map("".join)


@st.composite
def formats(draw: st.DrawFn) -> str:
    """One that the command line lets pass."""
    text = draw(parts_of_formats)
    try:
        check_name_format(text)
    except UsageError:
        text = text.replace("/", "")
        text = f"x{text}" if len(text) < 40 else "x"
    return text


@given(formats(), flows(), st.integers(0, 9999), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.integers(2, 2**48))
def test_names_by_a_format_stay_in_the_folder(
    name_format: str, flow: tuple[list[int], int], counter: int, opened: int, timestamp: bool, stream: int
) -> None:
    """Relative, each component one that a folder can hold, and short enough; the output folder knows every file and
    every folder for one of ours."""
    name = Names(name_format, timestamp=timestamp).name(endpoints(*flow), opened, counter)
    pattern = Pattern(name_format, timestamp=timestamp)
    folders, _, last = name.rpartition("/")
    assert name.count("/") == name_format.count("/") == pattern.depth
    suffix = provisional(stream)
    for whole in (last, last + suffix, f"{last}{suffix}@{stream}", f"conflicts-{last}{suffix}{suffix}"):
        path = f"{folders}/{whole}" if folders else whole
        assert fits(pattern, path)
        parts = path.split("/")
        if whole != last:
            assert {"", ".", ".."}.isdisjoint(parts)
        assert all(len(part.encode()) <= 255 for part in parts)
    for level, folder in enumerate(folders.split("/") if folders else []):
        assert folder not in {"", ".", ".."}
        assert pattern.is_folder(level, folder)
        assert pattern.is_folder(level, folder + "~")


@given(formats(), st.booleans(), st.text("0123456789.:abcxT_~@c-/", max_size=40))
def test_a_pattern_is_what_its_regular_expression_says(name_format: str, timestamp: bool, name: str) -> None:
    """The slow twin: the whole format as one expression, which says the same of short names."""
    texts = {
        "A": r"(\d{1,3}(\.\d{1,3}){3}|(?=[^/]*:[^/]*:)[0-9a-f:.]{2,39})", "a": r"\d{1,5}", "%": "%",
        "T": r"-?\d{1,11}", "V": r"(\d{1,4}(\.\d{1,4}){0,7})?",
    }  # fmt: skip
    texts |= {"B": texts["A"], "b": texts["a"]}
    *_, last = name_format.split("/")
    body = re.sub(r"%(.)|([^%])", lambda found: texts[found[1]] if found[1] else re.escape(found[2]), last)
    ahead = r"-?\d{1,11}T" if timestamp else ""
    ending = r"(c\d{4,})?(~\d+(\.1)?)*(@\d+(~\d+(\.1)?)?)?"
    # a lookahead of an address must not see beyond it, which one expression cannot say: names without two colons
    if name.count(":") < 2:
        expected = re.fullmatch(f"(conflicts-)?{ahead}{body}{ending}", name) is not None
        assert Pattern(name_format, timestamp=timestamp).is_file(name) == expected


@pytest.mark.parametrize(
    ("name_format", "timestamp", "foreign"),
    [
        ("%A", False, ["", "10.0.0", "10.0.0.1 ", "10.0.0.1\n", "x", "10.0.0.1.bak", "c0001", "1:2", "1T10.0.0.1"]),
        ("%A", False, ["١.0.0.1", "10.0.0.1.", "10.0.0.1/", "10.0.0.1/x", "x/10.0.0.1"]),
        ("%A", True, ["10.0.0.1", "T10.0.0.1", "5T"]),
        ("flow", False, ["flo", "flows", "Flow", "flowc1", "flow~", "flow~x", "flow@", "xconflicts-flow", "~1"]),
        ("%T/%A", False, ["10.0.0.1", "5", "x/10.0.0.1", "5/x", "5/1.1.1.1/x", "/1.1.1.1", "5~~/1.1.1.1", "_/1.1.1.1"]),
        ("%V/%a", False, ["/5", "./5", "../5", "__/5", "10./5", "._/5"]),
        ("a.b", False, ["axb"]),
    ],
)  # fmt: skip
def test_what_a_format_did_not_make(name_format: str, timestamp: bool, foreign: list[str]) -> None:
    """Names that come near, and folders: of a file's path only its folders fit beside it."""
    pattern = Pattern(name_format, timestamp=timestamp)
    folders = {"5"} if name_format.startswith("%T/") else set()
    assert {name for name in foreign if fits(pattern, name)} == folders


KINDS = ["-HTTP", "-HTTPBODY", "-HTTPBODY-002", "-HTTPBODY-1000-GZIP", "-HTTPBODY-BR-GZIP", "-MAIL-017"]
NO_KINDS = ["-", "-http", "-2", "-HTTP-", "--HTTP", "-HTTP--GZIP", "-HTTP-gz", "-HTTP.bak", "-HTTP@5", "-HTTP~", "-ÄB"]


@pytest.mark.parametrize(
    ("name_format", "names"),
    [
        (None, ["10.0.0.1.1-10.0.0.2.80", "5T::1.1-::2.80--10.vx7c0012~3.1"]),
        ("%V%A-X", ["10.0.0.1-X~4", "10.0.0.1-Xc0001~4.1", "10.0.0.1-X"]),
    ],
)
def test_names_of_derived_files(name_format: str | None, names: list[str]) -> None:
    """A file of ``-a`` is known for one of ours by the run that had ``-a``, and by no other."""
    derived, plain = (Pattern(name_format, timestamp=False, derived=each) for each in (True, False))
    for name in names:
        assert [kind for kind in KINDS if not derived.is_file(name + kind)] == []
        assert [kind for kind in KINDS if not derived.is_file(name + kind + provisional(7) + provisional(9))] == []
        assert [kind for kind in NO_KINDS if derived.is_file(name + kind)] == []
        assert [kind for kind in KINDS if plain.is_file(name + kind)] == []


@pytest.mark.parametrize("folder", [OBJECTS, OBJECTS + "~"])
def test_names_of_objects(folder: str) -> None:
    """An object lies in a folder of ours, and has its connection and its number in front."""
    ours = ["1-1-x", "17-20-index.html", "5-1-a_b-c.tar.gz.coded", "9-1-x~9", "9-1-x~9.1"]
    foreign = ["", "x", "1-x", "1-0-x", "1-01-x", "1-1-", "1-1-é", "1-1-a b", "a-1-x", "1-1-x~", "1-1-x\n", "١-1-x"]
    assert fits(ObjectNames(), folder)
    assert [name for name in ours + foreign if fits(ObjectNames(), f"{folder}/{name}")] == ours
    assert not any(fits(ObjectNames(), f"{above}{ours[0]}") for above in ("", "x/", f"x/{folder}/", f"{folder}x/"))


@pytest.mark.parametrize(
    ("name_format", "name"),
    [("%a1" * 30, "1" * 254 + "x"), ("%V" * 9, "1." * 127), ("%A.%A.%A.%A", "1." * 127), (None, "1." * 127 + "-"),
     (None, "1.1-1.1" + "-A1" * 82 + "x"), ("%A", "1.1.1.1" + "-A" * 120 + "-")],
)  # fmt: skip
def test_no_name_takes_long_to_judge(name_format: str | None, name: str) -> None:
    """Names in a shared folder are chosen by others; to judge one takes milliseconds, whatever it is."""
    begin = time.process_time()
    assert not Pattern(name_format, timestamp=True, derived=True).is_file(name)
    assert time.process_time() - begin < 1


def test_texts_of_addresses() -> None:
    """Unpadded; IPv6 as RFC 5952 has it."""
    assert ipv4(0x0A000001) == "10.0.0.1"
    assert ipv4(0xFFFFFFFF) == "255.255.255.255"
    assert ipv6(0x20010DB8 << 32, 1) == "2001:db8::1"
    assert ipv6(0, 0) == "::"
    assert networks(*words(6, [1, "vx5001", 4095, "ge0", 0])) == (1, "vx5001", 4095, "ge0", 0)
