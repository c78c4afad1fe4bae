"""Rows of the report: what a record says stands in the fileobject, in the order of the schema."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lxml import etree

from pipeline.report.rows import (
    Conflict,
    Part,
    StreamRecord,
    conflicts_name,
    format_rows,
    format_shared,
    settle_name,
)
from pipeline.report.text import attribute_names, escape, timestamps
from tests.effort import examples
from tests.report.reader import FOREIGN, NAMESPACE, FileObject, read
from tests.report.samples import MD5, document, record, records
from workers.contract import CloseReason, Completeness

IMAGES = {0: "a.pcap", 1: "b & c.pcap"}


def files(*given: StreamRecord, images: dict[int, str] | None = None) -> list[FileObject]:
    """What a reader finds of the records."""
    return read(document(format_rows(given, {0: "a.pcap"} if images is None else images))).files


# --------------------------------------------------------------------------- a slow twin


def xml_text(text: str) -> str:
    """The string that a parser finds."""
    for entity, sign in (
        ("#9", "\t"),
        ("#10", "\n"),
        ("#13", "\r"),
        ("lt", "<"),
        ("gt", ">"),
        ("apos", "'"),
        ("quot", '"'),
    ):
        text = text.replace(f"&{entity};", sign)
    return text.replace("&amp;", "&")


def shown(value: object) -> str:
    return xml_text(escape(str(value)))


def add(
    parent: etree._Element, tag: str, text: object = None, space: str = NAMESPACE, **attributes: object
) -> etree._Element:
    """A child; attributes that are None are left out."""
    child = etree.SubElement(parent, f"{{{space}}}{tag}")
    for name, value in attributes.items():
        if value is not None:
            child.set(name, shown(value))
    if text is not None:
        child.text = shown(text)
    return child


def twin(item: StreamRecord, images: dict[int, str], plain: bool) -> list[etree._Element]:
    """The row's fileobjects, byte by byte and element by element."""

    def final(name: str) -> str:
        if not plain or not item.suffix or not name.startswith(item.filename):
            return name
        return item.filename[: -len(item.suffix)] + name[len(item.filename) :]

    where = {}  # byte of the stream: (image, place) where a run begins, None inside of one
    for offset, length, image, place in item.runs:
        where |= dict.fromkeys(range(offset, offset + length))
        where[offset] = (image, place)
    first, last = timestamps([item.first_ns, item.last_ns])
    starts = [0, *(part.offset for part in item.parts), 1 << 62]
    listed = [Part(item.filename, 0, item.size, item.md5), *item.parts]
    found = []
    for number, part in enumerate(listed):
        begin, end = starts[number : number + 2]
        file = etree.Element(f"{{{NAMESPACE}}}fileobject")
        add(file, "filename", final(part.filename))
        add(file, "id", item.stream + (number << 48))
        add(file, "filesize", part.size)
        for name, time in (("mtime", last), ("crtime", first)):
            if time:
                add(file, name, time)
        here = {byte - begin: at for byte, at in where.items() if begin <= byte < end}
        sources = byte_runs(add(file, "byte_runs"), here, part.size, images)
        if part.md5:
            add(file, "hashdigest", part.md5, type="md5")
        if number:
            flow = add(file, "part_of", space=FOREIGN, flow=item.stream, connection=item.stream >> 1,
                       direction=item.stream & 1, stream_offset=begin)  # fmt: skip
        else:
            flow = flow_element(file, item, first, last, final)
        if len(images) > 1:
            changes = [pair for i, pair in enumerate(sources) if i == 0 or pair[1] != sources[i - 1][1]]
            if len(changes) == 1:
                flow.set("image", shown(changes[0][1]))
            else:
                for at, name in changes:
                    add(flow, "image", space=FOREIGN, file_offset=at, name=name)
        found.append(file)
    return found


def byte_runs(
    parent: etree._Element, here: dict[int, object], size: int, images: dict[int, str]
) -> list[tuple[int, str]]:
    """The runs of one file, and from where on which image is meant."""
    sources = []
    top = max([size, *(byte + 1 for byte in here)])
    at = 0
    while at < top:
        end = at + 1
        if at in here:
            image, place = here[at] or (None, None)
            while end < top and end in here and here[end] is None:
                end += 1
            known = image in images
            add(parent, "byte_run", file_offset=at, img_offset=place if known else None, len=end - at)
            if known:
                sources.append((at, images[image]))
        else:
            while end < top and end not in here:
                end += 1
            add(parent, "byte_run", file_offset=at, len=end - at, fill=0)
        at = end
    return sources


def unwritten(item: StreamRecord) -> int | None:
    """What nothing else accounts for, of a stream that met a limit."""
    known = (item.written, item.overlap, item.beyond, item.outside, item.not_data, item.refused)
    left = item.payload - sum(known)
    return left if left > 0 and item.flags & Completeness.LIMITED else None


def flow_element(file: etree._Element, item: StreamRecord, first: str, last: str, final: object) -> etree._Element:
    macs = (item.mac_src, item.mac_dst) if item.mac_src and item.mac_dst else (None, None)
    flow = add(
        file, "tcpflow", space=FOREIGN, startime=first or None, starttime=first or None, endtime=last or None,
        family=item.family, src_ipn=item.src, dst_ipn=item.dst, srcport=item.sport, dstport=item.dport,
        mac_saddr=macs[0], mac_daddr=macs[1],
        vlan=".".join(str(each) for each in item.networks if isinstance(each, int)) or None,
        overlay=".".join(each for each in item.networks if isinstance(each, str)) or None,
        packets=item.packets, len=item.length, caplen=item.captured, connection=item.stream >> 1,
        direction=item.stream & 1, payload=item.payload, written=item.written,
        out_of_order_count=item.out_of_order, violations=len(item.conflicts), gap_bytes=item.gap_bytes,
        overlap=item.overlap, conflict_bytes=item.conflict_bytes, beyond=item.beyond, outside=item.outside,
        not_data=item.not_data, refused=item.refused, unwritten=unwritten(item),
        completeness=" ".join(flag.name.lower() for flag in Completeness if flag in Completeness(item.flags)),
        end=CloseReason(item.reason).name.lower(),
        conflict_file=final(item.conflict_file) if item.conflict_file else None,
    )  # fmt: skip
    for conflict in item.conflicts:
        add(flow, "conflict", space=FOREIGN, **conflict._asdict())
    for protocol, facts in item.found:
        (tag,) = attribute_names((protocol,))
        add(flow, tag, space=FOREIGN, **dict(zip(attribute_names(tuple(facts)), facts.values(), strict=True)))
    return flow


def comparable(element: etree._Element) -> object:
    """Tag, attributes, text that is not layout, children."""
    children = [comparable(child) for child in element]
    text = (element.text or "") if not children else ""
    return (
        element.tag,
        dict(element.attrib),
        text.strip("\n") if element.tag.endswith("byte_runs") else text,
        children,
    )


@examples(60)
@given(st.lists(records(), max_size=3), st.sampled_from([{}, {0: "a.pcap"}, IMAGES]), st.booleans())
def test_rows_agree_with_their_twin(items: list[StreamRecord], images: dict[int, str], plain: bool) -> None:
    """A row says what its record says, whatever the record, with its provisional name settled either way."""
    root = etree.fromstring(document(format_rows(items, images), plain))
    found = [comparable(file) for file in root.iter(f"{{{NAMESPACE}}}fileobject")]
    assert found == [comparable(file) for item in items for file in twin(item, images, plain)]


@settings(deadline=None)
@given(items=st.lists(records(), max_size=3))
@example(
    items=[record(conflicts=(Conflict(3, 4, 9, MD5, MD5, None),), parts=(Part("n@50", 50, 50, MD5),), suffix="2.80")]
)
def test_documents_validate(schema: etree.XMLSchema, items: list[StreamRecord]) -> None:
    """A report validates against the published DFXML schema, and its ids are unique."""
    parsed = etree.fromstring(document(format_rows(items, IMAGES)))
    schema.assertValid(parsed)
    ids = [read.id for item in items for read in files(item)]
    assert len({item.stream for item in items}) < len(items) or len(set(ids)) == len(ids)


# --------------------------------------------------------------------------- cases


def test_an_ordinary_stream() -> None:
    """A flow's fileobject has its name, size, times, runs, MD5 and tcpflow's attributes."""
    macs = {"mac_src": "02:00:00:00:00:01", "mac_dst": "02:00:00:00:00:02"}
    (file,) = files(record(5, md5=MD5, networks=(10, "vx5001", 20), **macs))
    assert file.tags == {"filename": "10.0.0.1.5-10.0.0.2.80", "id": "5", "filesize": "100"}
    assert file.times == {"mtime": 1_620_000_001_500_000_000, "crtime": 1_620_000_000_000_000_001}
    assert file.runs == [{"file_offset": "0", "img_offset": "4096", "len": "100"}]
    assert file.hashes == {"md5": MD5}
    ((tag, flow),) = file.foreign
    assert tag == "tcpflow"
    assert flow["startime"] == flow["starttime"] == "2021-05-03T00:00:00.000000001Z"
    assert (flow["connection"], flow["direction"]) == ("2", "1")
    assert (flow["completeness"], flow["end"], flow["vlan"], flow["overlay"]) == (
        "", "finished", "10.20", "vx5001",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("runs", "size", "shown"),
    [
        ((), 0, []),
        ((), 7, [("0", "7", "0")]),
        (((0, 3, 0, 9),), 3, [("0", "3", None)]),
        (((2, 3, 0, 9), (5, 1, 0, 90), (8, 1, 0, 99)), 12,
         [("0", "2", "0"), ("2", "3", None), ("5", "1", None), ("6", "2", "0"), ("8", "1", None),
          ("9", "3", "0")]),
    ],
)  # fmt: skip
def test_holes(
    runs: tuple[tuple[int, int, int, int], ...], size: int, shown: list[tuple[str, str, str | None]]
) -> None:
    """Every byte of a file is in a run, or in a hole with fill."""
    (file,) = files(record(runs=runs, size=size))
    assert [(run["file_offset"], run["len"], run.get("fill")) for run in file.runs] == shown


RARE = {"out_of_order": "out_of_order_count"} | {
    name: name for name in ("gap_bytes", "overlap", "conflict_bytes", "beyond", "outside", "not_data", "refused")
}


@pytest.mark.parametrize("name", RARE)
def test_what_is_rare_shows(name: str) -> None:
    """A count that is nearly always 0 is told when it is the only one that is not."""
    (file,) = files(record(**{name: 7}))
    assert {key for key in RARE if file.foreign[0][1][RARE[key]] != "0"} == {name}


def test_parts_are_siblings() -> None:
    """Beyond 16 MiB of holes a stream goes on in a fileobject of its own, tied to its flow."""
    far = 1 << 30
    parts = (Part(f"n@{far}", far, 30, MD5),)
    first, second = files(record(7, size=20, runs=((0, 20, 0, 5), (far, 10, 0, 6), (far + 20, 10, 0, 7)), parts=parts))
    assert [run["len"] for run in first.runs] == ["20"]
    assert [(run["file_offset"], run["len"]) for run in second.runs] == [
        ("0", "10"),
        ("10", "10"),
        ("20", "10"),
    ]
    assert second.tags["filename"] == f"n@{far}"
    assert second.id == 7 + (1 << 48)
    assert second.foreign == [
        ("part_of", {"flow": "7", "connection": "3", "direction": "1", "stream_offset": str(far)})
    ]


def test_images_are_named_when_there_are_several() -> None:
    """Each byte still knows its own file."""
    one, two, none = files(
        record(2),
        record(4, runs=((0, 50, 0, 1), (50, 20, 1, 2), (70, 30, 1, 9))),
        record(6, runs=((0, 100, 9, 1),)),
        images=IMAGES,
    )
    assert one.foreign[0][1]["image"] == "a.pcap"
    assert two.foreign[1:] == [
        ("image", {"file_offset": "0", "name": "a.pcap"}),
        ("image", {"file_offset": "50", "name": "b & c.pcap"}),
    ]
    assert "image" not in none.foreign[0][1]
    assert none.runs == [{"file_offset": "0", "len": "100"}]


def test_provisional_names() -> None:
    """All names of a stream lose the suffix, or keep it; a like text elsewhere is left alone."""
    item = record(
        filename="n~7", suffix="~7", conflict_file="n~7.conflicts", parts=(Part("n~7@90", 90, 10),), src="n~7"
    )
    (row,) = format_rows([item], {0: "a.pcap"})
    names = re.compile(rb"<filename>(.*?)</filename>|conflict_file='(.*?)'|src_ipn='(.*?)'")
    kept = [b"".join(match) for match in names.findall(settle_name(row, plain=False))]
    plain = [b"".join(match) for match in names.findall(settle_name(row, plain=True))]
    assert kept == [b"n~7", b"n~7", b"n~7.conflicts", b"n~7@90"]
    assert plain == [b"n", b"n~7", b"n.conflicts", b"n@90"]


def test_conflicts_lie_beside_their_stream() -> None:
    """The file of the losing bytes lies in the folder of its stream's, and loses the suffix with it."""
    item = record(filename="a/b/n~7", suffix="~7", conflict_file=conflicts_name("a/b/n~7"))
    assert item.conflict_file == "a/b/conflicts-n~7"
    (row,) = format_rows([item])
    assert b"conflict_file='a/b/conflicts-n'" in settle_name(row, plain=True)
    assert b"conflict_file='a/b/conflicts-n~7'" in settle_name(row, plain=False)


FOUND = (("http", {"requests": 3, "limit.head": 1}), ("smtp", {}))
SHOWN = [("http", {"requests": "3", "limit_head": "1"}), ("smtp", {})]


@pytest.mark.parametrize("more", [{}, {"parts": (Part("n@50", 50, 50),)}, {"suffix": "2.80"}])
def test_what_was_found_in_a_stream(more: dict[str, object]) -> None:
    """The flow element has an element of each protocol, with what was counted; that of parts has none."""
    first, *parts = files(record(found=FOUND, **more))
    assert first.foreign[1:] == SHOWN
    assert [len(part.foreign) for part in parts] == [1] * len(parts)


def test_what_was_found_in_streams_of_one_file() -> None:
    """Each flow element has its own (-R)."""
    flows = [(0, record(2, found=FOUND)), (100, record(8)), (200, record(10, found=FOUND[1:]))]
    (row,) = format_shared([record(2)], [flows])
    (file,) = read(document([row])).files
    assert [tag for tag, _ in file.foreign] == ["tcpflow", "http", "smtp", "tcpflow", "tcpflow", "smtp"]


# --------------------------------------------------------------------------- -R


def test_a_file_of_several_streams() -> None:
    """One fileobject, the file's size and runs, and a flow element each with its place; all offsets are the file's."""
    lost = Conflict(3, 4, 9, MD5, MD5, 0)
    whole = record(2, size=150, md5=MD5, runs=((0, 100, 0, 40), (100, 20, 1, 7), (130, 20, 1, 90)))
    later = record(8, size=50, runs=((0, 20, 1, 7), (30, 20, 1, 90)), conflicts=(lost,), conflict_file="conflicts-n")
    (row,) = format_shared([whole], [[(0, record(2)), (100, later)]], IMAGES)
    (file,) = read(document([row])).files
    assert (file.tags["filesize"], file.id, file.hashes) == ("150", 2, {"md5": MD5})
    assert [(run["file_offset"], run["len"]) for run in file.runs] == [
        ("0", "100"), ("100", "20"), ("120", "10"), ("130", "20"),
    ]  # fmt: skip
    first, second, conflict = file.foreign
    assert [first[0], second[0], conflict[0]] == ["tcpflow", "tcpflow", "conflict"]
    assert ("file_offset" in first[1], second[1]["file_offset"]) == (False, "100")
    assert (first[1]["connection"], second[1]["connection"]) == ("1", "4")
    assert (first[1]["image"], second[1]["image"]) == ("a.pcap", "b & c.pcap")
    assert "conflict_file" not in first[1]
    assert (conflict[1]["offset"], conflict[1]["side_offset"]) == ("103", "0")


@settings(deadline=None)
@given(st.lists(records(), min_size=1, max_size=4), st.integers(1, 1 << 40), st.sampled_from([{}, IMAGES]))
@example([record(2, suffix="2.80"), record(4)], 100, IMAGES)
def test_shared_rows_hold_all_their_flows(
    schema: etree.XMLSchema, items: list[StreamRecord], base: int, images: dict[int, str]
) -> None:
    """Whatever the records: valid, one flow element each in their order; a file of one stream has the row it had."""
    mine = [(i * base, item) for i, item in enumerate(items)]
    (row,) = format_shared([items[0]], [mine], images)
    if len(items) == 1:
        assert [row] == format_rows(items, images)
    whole = document([row])
    schema.assertValid(etree.fromstring(whole))
    file = read(whole).files[0]
    told = [attributes for tag, attributes in file.foreign if tag == "tcpflow"]
    assert [int(each["connection"]) for each in told] == [item.stream >> 1 for item in items]
    assert [int(each.get("file_offset", 0)) for each in told] == [i * base for i in range(len(items))]


@pytest.mark.parametrize("byte", [*range(0x20), 0x7F, 0x80, 0xFF, *b"<>&'\"\\%"])
def test_any_byte_in_a_name(byte: int) -> None:
    """No name adds an element to the report, or takes one away."""
    name = b"a" + bytes([byte]) + b"</filename><fileobject>"
    found = read(document(format_rows([record(filename=name.decode("utf-8", "surrogateescape")), record(4)])))
    assert len(found.files) == 2
    assert found.elements == read(document(format_rows([record(), record(4)]))).elements
