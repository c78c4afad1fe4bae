"""Records for the tests of the report: ordinary ones, and any that types allow."""

from __future__ import annotations

from hypothesis import strategies as st

from pipeline.report.derived import DerivedRecord
from pipeline.report.document import Creator, Execution, Input, Outcome, Usage, head, tail
from pipeline.report.rows import Conflict, Part, StreamRecord, settle_name

ODD_TEXT = st.text(st.characters(), max_size=12) | st.sampled_from(
    [
        "\\x41",
        "\\\\x41",
        "\\",
        "a\\b",
        "\\ud800",
        "]]>",
        "&amp;",
        "%s%d",
        "\x01~7\x02",
        "\r\n\t",
        "\udcff\udc80",
    ]
)
COUNT = st.integers(0, 1 << 48)
TIME = st.integers(-(1 << 63), (1 << 63) - 1) | st.sampled_from([0, -1, 10**30, -(10**30), -(1 << 63)])
MD5 = "d41d8cd98f00b204e9800998ecf8427e"
FLAGS = st.integers(0, 255)
STREAM = st.integers(2, (1 << 47) - 1)
FOUND = st.tuples(st.sampled_from(["http", "smtp"]) | ODD_TEXT, st.dictionaries(ODD_TEXT, COUNT, max_size=3))
FACT = st.none() | st.booleans() | COUNT | ODD_TEXT | st.lists(ODD_TEXT, max_size=2)


def record(stream: int = 2, **changes: object) -> StreamRecord:
    """A whole stream of 100 bytes in one run, changed as asked."""
    plain = StreamRecord(
        stream, f"10.0.0.1.{stream}-10.0.0.2.80", 100, ((0, 100, 0, 4096),),
        1_620_000_000_000_000_001, 1_620_000_001_500_000_000, "10.0.0.1", 1025, "10.0.0.2", 80, 2,
        4, 316, 300, 100, 100, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    )  # fmt: skip
    return plain._replace(**changes)


@st.composite
def runs(draw: st.DrawFn) -> tuple[tuple[int, int, int, int], ...]:
    """Runs in order, with or without holes between them."""
    found, at = [], 0
    for gap, length in draw(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), max_size=6)):
        found.append((at + gap, length, draw(st.integers(0, 3)), draw(COUNT)))
        at += gap + length
    return tuple(found)


@st.composite
def records(draw: st.DrawFn) -> StreamRecord:
    """Any record: odd names, absurd times, holes, parts, conflicts."""
    held = draw(runs())
    end = held[-1][0] + held[-1][1] if held else 0
    starts = draw(st.lists(st.integers(1, max(1, end)), max_size=2, unique=True).map(sorted))
    name = draw(ODD_TEXT)
    suffix = draw(st.sampled_from(["", "~17"]))
    name += suffix
    parts = [Part(f"{name}@{start}", start, draw(st.integers(0, 400)), draw(st.none() | ODD_TEXT)) for start in starts]
    conflict = st.builds(Conflict, COUNT, COUNT, COUNT, ODD_TEXT, ODD_TEXT, st.none() | COUNT)
    return StreamRecord(
        draw(STREAM), name, draw(st.integers(0, 400)), held, draw(TIME), draw(TIME),
        draw(ODD_TEXT), draw(st.integers(0, 65535)), draw(ODD_TEXT), draw(st.integers(0, 65535)),
        draw(st.sampled_from([2, 10])), *[draw(COUNT | st.just(0)) for _ in range(12)],
        draw(FLAGS), draw(st.integers(0, 5)), draw(st.none() | ODD_TEXT),
        tuple(draw(st.lists(st.integers(0, 4095), max_size=3))),
        *draw(st.just((None, None)) | st.tuples(ODD_TEXT, ODD_TEXT)),
        parts, draw(st.lists(conflict, max_size=2)), draw(COUNT),
        draw(st.none() | st.just(name + ".conflicts") | ODD_TEXT), suffix,
        draw(st.lists(FOUND, max_size=2)),
    )  # fmt: skip


def derived(serial: int = 1, stream: int = 4, **changes: object) -> DerivedRecord:
    """A whole body of 50 bytes that was decoded from 30, changed as asked."""
    plain = DerivedRecord(
        stream, serial, f"n-HTTPBODY-{serial:03d}-GZIP", "", 50, ((0, 50),), 1_620_000_000_000_000_001,
        1_620_000_001_500_000_000, MD5, None, "HTTPBODY", 1000, 30, "gzip", 0, {},
    )  # fmt: skip
    return plain._replace(**changes)


@st.composite
def derived_records(draw: st.DrawFn) -> DerivedRecord:
    """Any record: odd names, absurd times, holes, facts of any name."""
    suffix = draw(st.sampled_from(["", "~17"]))
    held = [(offset, length) for offset, length, _, _ in draw(runs())]
    return DerivedRecord(
        draw(STREAM), draw(st.integers(1, 1 << 31)), f"{draw(ODD_TEXT)}{suffix}-HTTP{draw(ODD_TEXT)}", suffix,
        draw(st.integers(0, 400)), held, draw(TIME), draw(TIME), *draw(st.tuples(*[st.none() | ODD_TEXT] * 2)),
        draw(ODD_TEXT), draw(COUNT), draw(COUNT), draw(ODD_TEXT), draw(FLAGS),
        draw(st.dictionaries(ODD_TEXT | st.sampled_from(["flow", "a.b", "a_b", "xmlns"]), FACT, max_size=4)),
    )  # fmt: skip


def creator(command_line: str = "flowshard -r a.pcap", user: str = "root") -> Creator:
    """Who made the document."""
    execution = Execution("Linux", "6.1", "#1 SMP", "host", "x86_64", command_line, 0, user, 1_620_000_000_000_000_000)
    libraries = [("numpy", "2.1.0"), ("libzmq", "4.3.5")]
    return Creator("flowshard", "0.1.0", "CPython 3.11.7", [("libpcap", "1.9.1")], libraries, execution)


def outcome(*inputs: Input) -> Outcome:
    """What came of the run."""
    return Outcome(
        usage=Usage(0.5, 0.25, 17500, 1765, 1, 0, 2168, 1536, 1.125),
        options={"md5": True, "overlap": "first", "stream_bytes": None},
        inputs=inputs or [Input("a.pcap", 1000, 1000, "pcap, little endian, microseconds", 12)],
        totals={"total_flows": 2, "total_packets": 12},
        counters={"malformed.ip_truncated": 3},
        processes={"workers": 1, "writers": 2},
    )


def document(rows: list[bytes], plain: bool = False) -> bytes:
    """A whole document of these rows, names settled."""
    return head(creator(), ["a.pcap"]) + b"".join(settle_name(row, plain) for row in rows) + tail(outcome())
