"""What writers left that died, made good at the end of the run: rows for their files.

Knows: their notes (writer/notes.py), which rows of theirs are on disk. Does not know: why they died.
Invariant: only a file that a dead writer made is touched, told by device and inode, and a row claims bytes that its
writer had noted as written. What else was in its last message is taken out of the files again: it counts as lost.

The rows that were on disk are taken as they are. All other streams are marked LOST, as those of a dead worker are
(writer/orphans.py), also those that had ended within the last second. Bodies and objects that were found in these have
no rows. What cannot be made good stays as it lies, and the folder stays marked as incomplete.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from pipeline.config import Config
from pipeline.console import warning
from pipeline.errors import OutputError
from pipeline.report.flows import flows_fragment
from pipeline.report.fragments import files_made, finish_for, index_path, leave_out
from pipeline.report.objects import ObjectLines, objects_fragment
from pipeline.report.packet_map import MapFragment, map_fragment
from pipeline.report.placing import remove
from pipeline.results import Results
from pipeline.stages.losses import number
from pipeline.starting import fragment_of
from pipeline.writer.names import Names, endpoints, provisional
from pipeline.writer.notes import Known, notes_of, read
from pipeline.writer.orphans import Orphan, closed
from pipeline.writer.stream import NO_CAP, Stream
from pipeline.writer.writer import Writer
from workers.contract import Opened

_LOST: Final = ("lost.bytes", "lost.overlap", "lost.streams")


@dataclass(slots=True)
class Salvaged:
    """All fragments of a run, and what is known of it now."""

    fragments: list[Path]
    results: Results
    whole: bool = True
    """Every file of the dead ones is in a fragment."""
    told: dict[int, Mapping[int, Sequence[int]]] = field(default_factory=dict)
    """By dead writer: of what each worker told it bytes, overlapping bytes, and streams that are not lost."""


def salvage(config: Config, fragments: Sequence[Path], results: Results) -> Salvaged:
    """``fragments``: of the first writers. OutputError; InternalError for a fragment that is not what its notes say."""
    dead = [m for name in (*results.replaced, *results.lost) if (m := number(name, "writer")) is not None]
    writers = range(config.writers + sum(name.startswith("writer-") for name in results.replaced) * config.writers)
    living = [m for m in writers if m not in dead and index_path(fragment_of(fragments, m)).exists()]
    found = Salvaged([fragment_of(fragments, m) for m in living], results)
    for m in dead:
        _make_good(config, fragment_of(fragments, m), m, found)
    lost = dict.fromkeys(_LOST, 0)
    for worker, told in results.told.items():
        for m in dead:
            there = found.told.get(m, {}).get(worker, (0, 0, 0))
            for name, all_told, kept in zip(_LOST, told.get(m, (0, 0, 0)), there, strict=True):
                lost[name] += all_told - kept
    found.results = replace(found.results, workers=[*results.workers, lost])
    return found


def _make_good(config: Config, fragment: Path, writer: int, found: Salvaged) -> None:
    """One writer."""
    try:
        if config.append:  # where in its file each stream begins the dead one alone knew
            raise ValueError("with -R nobody else knows what is in its files")
        known = read(notes_of(fragment))
    except FileNotFoundError:  # it had not begun
        return
    except (OSError, ValueError) as problem:
        warning(f"what writer-{writer} wrote is in no report: {problem}", "its files stay where they are")
        found.whole = False
        return
    left = fragment.with_name(fragment.name + "-left")
    closing = _Closing(config, left, writer, known)
    found.whole &= closing.close()
    there = _finished(config, fragment, known)
    for each, name in there:
        if leave_out(each, closing.told_of(name)):
            found.whole = False
    _fill(config, fragment, left)
    found.fragments += [left, *(each for each, name in there if not name)]
    found.told[writer] = known.told
    found.results = replace(found.results, writers=[*found.results.writers, closing.counters])


def _finished(config: Config, fragment: Path, known: Known) -> list[tuple[Path, str]]:
    """The fragments with what was on disk of them, and under which names the notes have them."""
    wanted = [(fragment, "")]
    wanted += [(flows_fragment(fragment), "flows")] if config.flows is not None else []
    wanted += [(objects_fragment(fragment), "objects")] if config.extract else []
    there = [(path, name) for path, name in wanted if files_made(path)[0].exists()]  # one that failed is left out
    for path, name in there:
        finish_for(path, *known.ends.get(name, (0, 0)))
    return there


def _fill(config: Config, fragment: Path, left: Path) -> None:
    """What is wanted of every writer, and nothing can be said of it here."""
    if config.extract:
        ObjectLines(left).close()
    if config.packet_map:
        made = map_fragment(fragment)
        for each in made.parent.glob(f"{made.name}*.part"):
            remove(each)
        MapFragment(made).close()


class _Closing:
    """The streams of one dead writer that have no row."""

    def __init__(self, config: Config, left: Path, writer: int, known: Known) -> None:
        """``left``: where their rows go. OutputError."""
        self._config = config
        self._known = known
        self._number = writer
        self._names = Names(config.name_format, timestamp=config.name_timestamp)
        plain = replace(config, analyze=False, extract=())
        self._writer = Writer(plain, left, None, tell=warning)  # type: ignore[arg-type] # no payload comes
        self._streams: dict[int, Stream] = {}
        self._whole = True
        analyzed = {name for name in known.counters if "." in name and not name.startswith(("limit.", "write_"))}
        kept = {name: count for name, count in known.counters.items() if name not in analyzed}
        told = sum(counts[0] for counts in known.told.values())
        self.counters = self._writer.counters
        self.counters |= kept | {"data_bytes": told, "skipped": 0}

    def told_of(self, name: str) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        """Under what the derived rows and lines of these streams are: an object is its connection's."""
        streams = np.array(sorted(self._streams), np.uint64)
        return streams >> np.uint64(1) if name == "objects" else streams

    def close(self) -> bool:
        """Make their files complete, and their rows. False: there are files that are in no row."""
        known, undone = self._known, self._known.undone
        if known.opened is not None:
            self._open(known.opened)
        if undone is not None and undone.opened is not None:
            self._whole &= not any(map(self._is_there, self._made(undone.opened)))
        for ident, kind, at in known.moves:
            if kind == "rebases":
                self._streams[ident].move_origin(at)
            else:
                self._streams[ident].begin_part(at)
        orphans = self._orphans()
        for stream in self._streams.values():
            self._adopt(stream, orphans[stream.number])
        if orphans:
            self._writer.close_left(self._streams.values(), *closed(orphans))
        self._writer.finish()
        return self._whole and not self._config.analyze

    def _open(self, opened: Opened) -> None:
        for stream in self._made(opened):
            self._streams[stream.number] = stream

    def _made(self, opened: Opened) -> list[Stream]:
        columns = (opened.stream, opened.key, opened.side, opened.counter, opened.time)
        made = []
        for ident, key, side, counter, time in zip(*(column.tolist() for column in columns), strict=True):
            ends = endpoints(key, side)
            suffix = provisional(ident) if self._names.coarse else ""
            name = self._names.name(ends, time, counter)
            made.append(Stream(ident, name, suffix, ends, b"", md5=self._config.md5))
        return made

    def _is_there(self, stream: Stream) -> bool:
        """Whether there is a file that could be that of a stream of which nothing is claimed."""
        return any(os.path.lexists(self._config.output / f"{stream.file.name}{suffix}")
                   for suffix in ("", provisional(stream.number)))  # fmt: skip

    def _orphans(self) -> dict[int, Orphan]:
        """The same streams, as they are told of in rows."""
        opened, found = self._known.opened, {}
        if opened is not None:
            columns = (opened.stream, opened.shard, opened.time, opened.midstream)
            for stream, *facts in zip(*(column.tolist() for column in columns), strict=True):
                found[stream] = Orphan(*facts)
                found[stream].origin = self._streams[stream].origin
        for stream, low, high, start, time, packets in self._known.spans.tolist():
            orphan = found[stream]
            orphan.last = max(orphan.last, time)
            orphan.packets += packets
            orphan.spans.append((low, high, start))
        return dict(sorted(found.items()))

    def _adopt(self, stream: Stream, orphan: Orphan) -> None:
        """Find its files, take out of them what is not noted, and let it end where they do."""
        stream.stale = True
        folder, undone = self._writer.folder, self._known.undone
        ours = self._known.files.get(stream.number, set())
        if undone is not None and stream.number in undone.moved:
            ours = set()  # what lies in its files is not known
            self._whole = False
        there, adopted, files = stream.origin, 0, stream.files()
        for i, (start, file) in enumerate(files):
            if i:
                file.name = stream.part_name(start)
            if not folder.adopt(file, ours):
                break
            adopted += 1
            behind = files[i + 1][0] if i + 1 < len(files) else NO_CAP
            there = start + folder.size(file)
            if any(low < behind and there < min(high, behind) for low, high, _ in orphan.spans):
                break
        self._whole &= adopted == len(ours)
        if any(high > there for _, high, _ in orphan.spans):
            stream.end_at(there)
        if undone is not None:
            for _, low, high, *_ in undone.spans[undone.spans["stream"] == stream.number].tolist():
                with suppress(OutputError):
                    self._clear(stream, low, min(high, there))

    def _clear(self, stream: Stream, low: int, high: int) -> None:
        """Zeros, as in every hole: what was written there is not claimed. OutputError."""
        while low < high:
            file, start = stream.part(low)
            size = min(high - low, 1 << 20)
            held = self._writer.folder.read(file, size, low - start)
            if not held:
                return
            if any(held):
                self._writer.folder.write(file, [bytes(len(held))], len(held), low - start)
            low += len(held)
