"""The open streams of a writer.

Knows: which of them are plain (plain/streams.py), and that a plain one becomes a Stream when something else happens to
it. Does not know: events, what a row says.
Invariant: whoever asks for a stream gets all there is of it; ``taken`` gives it away.
"""

from __future__ import annotations

from pipeline.config import Config
from pipeline.writer.plain.streams import PlainStreams
from pipeline.writer.stream import Stream


def may_be_plain(config: Config) -> bool:
    """Whether a stream is no more than a file and a row, as far as the options say."""
    asked = (config.protocols, config.append, config.console, config.flows, config.packet_map, config.name_format)
    return not any(asked) and len(config.inputs) == 1 and config.rotation is None


class Streams(dict[int, Stream]):
    """By number: those that are not plain."""

    plain: PlainStreams | None = None

    @property
    def open(self) -> int:
        """How many there are, with plain ones."""
        return len(self) + (0 if self.plain is None else len(self.plain))

    def __missing__(self, number: int) -> Stream:
        """One that was plain, and is not any more."""
        stream = None if self.plain is None else self.plain.give(number)
        if stream is None:
            raise KeyError(number)
        self[number] = stream
        return stream

    def taken(self, number: int) -> Stream:
        """One of them, which is none of them any more."""
        stream = self[number]
        del self[number]
        return stream
