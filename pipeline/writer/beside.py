"""What a writer keeps for the files that stand beside the report: connections, objects, the map of packets.

Knows: which of them are wanted, where their fragments lie. Does not know: what they say.
Invariant: one that is not wanted is not imported; all of them turn to the next part of the output, and end, together.
One that could not be written is left out: there is none then, until the next part begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.config import Config
from pipeline.errors import OutputError
from pipeline.writer.folder import Folder

if TYPE_CHECKING:
    from pipeline.report.flows import Flows
    from pipeline.report.objects import ObjectLines
    from pipeline.report.packet_map import MapFragment


_NAMES: Final = ("flows", "map", "objects")


class Beside:
    """One writer's; None: it is not wanted, or could not be written."""

    def __init__(self, config: Config, fragment: Path, folder: Folder) -> None:
        """``fragment``: the writer's, beside which they lie; ``folder`` hears of failures. OutputError."""
        self._config = config
        self._folder = folder
        self.flows: Flows | None = None
        self.map: MapFragment | None = None
        self.objects: ObjectLines | None = None
        for name in self._wanted():
            self._begin(name, fragment)

    def _wanted(self) -> list[str]:
        config = self._config
        return list(compress(_NAMES, (config.flows is not None, config.packet_map, bool(config.extract))))

    def _begin(self, name: str, fragment: Path) -> None:
        """Make one of them, beside that fragment. OutputError."""
        if name == "flows":
            from pipeline.report.flows import Flows, flows_fragment

            self.flows = Flows(flows_fragment(fragment))
        elif name == "map":
            from pipeline.report.packet_map import MapFragment, map_fragment

            self.map = MapFragment(map_fragment(fragment))
        else:
            from pipeline.report.objects import ObjectLines

            self.objects = ObjectLines(fragment)

    def turn(self, fragment: Path) -> None:
        """These are final; others, beside that fragment, begin, also in the place of those that could not be written.

        OutputError: the run is to end of it.
        """
        for name in self._wanted():
            if getattr(self, name) is not None:
                with self.tried(name):
                    self._turn(name, fragment)
            if getattr(self, name) is None:
                try:
                    self._begin(name, fragment)
                except OutputError as error:
                    self._folder.failures.took(error)

    def _turn(self, name: str, fragment: Path) -> None:
        if name == "flows" and self.flows is not None:
            from pipeline.report.flows import flows_fragment

            self.flows.turn(flows_fragment(fragment))
        elif name == "map" and self.map is not None:
            from pipeline.report.packet_map import map_fragment

            self.map.turn(map_fragment(fragment))
        elif name == "objects" and self.objects is not None:
            self.objects.turn(fragment)

    def checkpoint(self) -> dict[str, list[int] | None]:
        """Of each that has lines by connection how far it is on disk, as of FragmentWriter. OutputError: the run is to
        end of it."""
        ends = {}
        for name in _NAMES:
            each = getattr(self, name)
            if each is not None and name != "map":
                with self.tried(name):
                    ends[name] = each.checkpoint()
        return ends

    def close(self) -> None:
        """These are final. OutputError: the run is to end of it."""
        for name in _NAMES:
            each = getattr(self, name)
            if each is not None:
                with self.tried(name):
                    each.close()

    @contextmanager
    def tried(self, name: str) -> Iterator[None]:
        """What is done to one of them, which goes if that fails. OutputError: the run is to end of it."""
        try:
            yield
        except OutputError as error:
            self._folder.failures.took(error)
            getattr(self, name).abandon()
            setattr(self, name, None)
