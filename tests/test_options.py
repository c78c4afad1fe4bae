"""How options are spelled: every form of every option, and what the help says."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

import pytest

from pipeline.config import known_protocols
from pipeline.errors import UsageError
from pipeline.options import EXAMPLES, HelpAsked, option_parser, read_options


@pytest.mark.parametrize(
    ("line", "name", "expected"),
    [
        ("-r a -r b", "read", ["a", "b"]),
        ("--read a -rb", "read", ["a", "b"]),
        ("-r -", "read", ["-"]),
        ("-o out", "output", "out"),
        ("-oout", "output", "out"),
        ("--output=out", "output", "out"),
        ("", "output", "."),
        ("-c", "console", True),
        ("--console", "console", True),
        ("-vc", "console", True),
        ("", "console", False),
        ("-R", "append", True),
        ("--append", "append", True),
        ("--no-duplicate-check", "append", True),
        ("-w rest.pcapng", "write_unprocessed", "rest.pcapng"),
        ("-wrest.pcapng", "write_unprocessed", "rest.pcapng"),
        ("--write-unprocessed rest.pcapng", "write_unprocessed", "rest.pcapng"),
        ("--flows f", "flows", "f"),
        ("--packet-map", "packet_map", True),
        ("--ignore-vlan", "ignore_vlan", True),
        ("--start 1", "start", "1"),
        ("--end 2", "end", "2"),
        ("--strict", "strict", True),
        ("--follow", "follow", True),
        ("--spool-dir d", "spool_dir", "d"),
        ("--spool-size 32M", "spool_size", "32M"),
        ("-F %A", "format", "%A"),
        ("-md5", "md5", True),
        ("--md5", "md5", True),
        ("-C100", "max_bytes", "100"),
        ("-a", "analyze", True),
        ("--analyze", "analyze", True),
        ("-Ta", "analyze", True),
        ("", "analyze", False),
        ("-e http --extract smtp -ehttp", "extract", ["http", "smtp", "http"]),
        ("", "extract", []),
        ("--max-decoded 1G", "max_decoded", "1G"),
        ("--max-ratio 50", "max_ratio", "50"),
    ],
)
def test_every_spelling(line: str, name: str, expected: object) -> None:
    """Short and long, joined and apart; an option that is not given has its default."""
    options, words = read_options(line.split())
    assert (getattr(options, name), words) == (expected, [])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("tcp port 80", ["tcp", "port", "80"]),
        ("-r a tcp -T port 80", ["tcp", "port", "80"]),
        ("ip[6] - 1 > 0", ["ip[6]", "-", "1", ">", "0"]),
        ("-r a -- -1 < len -md5", ["-1", "<", "len", "-md5"]),
    ],
)
def test_what_is_left_is_the_filter_expression(line: str, words: Sequence[str]) -> None:
    """Before, between and behind the options; all of it behind ``--``."""
    assert read_options(line.split())[1] == words


@pytest.mark.parametrize(
    "word", ["--wrokers", "--work", "-m", "-md", "-z", "-1", "--packet", "--no-dup", "--start-time"]
)
def test_unknown_options_are_refused(word: str) -> None:
    """A mistyped option is not guessed at, and is no word of the expression."""
    with pytest.raises(UsageError, match=f"^unknown option {word}$"):
        read_options(["-r", "x.pcap", word])


@pytest.mark.parametrize("word", ["-r", "-o", "-w", "-e", "--flows", "--start", "--end", "--spool-dir", "--spool-size"])
def test_an_option_without_its_value_is_refused(word: str) -> None:
    """The message names the option."""
    with pytest.raises(UsageError, match=rf"{word}\b.*: expected one argument$"):
        read_options([word])


@pytest.mark.parametrize(
    ("line", "wanted"), [("-h", "help"), ("-r nowhere --help", "help"), ("-V", "version"), ("-vV", "version")]
)
def test_help_and_version_need_nothing_else_to_be_right(line: str, wanted: str) -> None:
    """They are asked for by people whose command line is not right yet."""
    with pytest.raises(HelpAsked) as asked:
        read_options(line.split())
    assert asked.value.wanted == wanted
    assert bool(asked.value.text) == (wanted == "help")


def test_the_help_names_every_option() -> None:
    """No option is left out, and times say their zone."""
    text = option_parser().format_help()
    options = [name for action in option_parser()._actions for name in action.option_strings]
    assert [name for name in options if name not in text] == []
    assert f"protocols that -a and -e know: {' '.join(known_protocols())}\n" in text
    assert re.search(r"without\s+a\s+zone\s+it\s+is\s+UTC", text)


def test_the_examples_of_the_help_are_right() -> None:
    """Every command of the help is one that the parser takes."""
    commands = re.findall(r"flowshard (-r .*)", EXAMPLES)
    assert len(commands) >= 12
    for line in commands:
        options, words = read_options(shlex.split(line.partition(" | ")[0]))
        assert options.read, line
        assert " ".join(words) in {"", "port 80", "host 10.0.0.1 and port 80"}, line
