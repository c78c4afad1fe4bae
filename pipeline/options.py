"""How the options are spelled, and what the help says of them.

Knows: argparse. Does not know: what an option's value may be, beyond whether it has one; files; a run.
Invariant: an option that is not known is refused in every spelling, never silently accepted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final, NoReturn

from pipeline.config import DEFAULT_BATCH_PACKETS, known_protocols
from pipeline.errors import UsageError

EXAMPLES: Final = """\
by task:
  rebuild all streams, with their MD5s     flowshard -r day.pcap -o out -md5
  a folder of rotated captures             flowshard -r captures/ -o out
  several captures, one timeline           flowshard -r a.pcap -r b.pcapng.gz -o out
  as another machine captures              ssh host tcpdump -w - | flowshard -r - -o out
  a capture that is still growing          flowshard -r live.pcap --follow -o out
  only some of the traffic                 flowshard -r day.pcap -o out host 10.0.0.1 and port 80
  only a stretch of time (UTC)             flowshard -r day.pcap -o out --start 2024-05-01T10:00 --end 2024-05-01T10:05
  read streams on the console              flowshard -r day.pcap -c port 80 | less
  HTTP: heads and bodies as files          flowshard -r day.pcap -o out -a
  every object that HTTP carried           flowshard -r day.pcap -o out -e http
  read requests and answers                flowshard -r day.pcap -c -a | less
  the first 4 kB of each stream            flowshard -r day.pcap -o out -C 4096
  names of your own, in folders            flowshard -r day.pcap -o out -F %A/%T-%a-%B.%b
  a line for each connection               flowshard -r day.pcap -o out --flows flows.jsonl
  live, until Ctrl-C                       sudo flowshard -i eth0 -o out tcp port 80
  live for weeks, an hour a folder         sudo flowshard -i eth0 -o out --rotate 1h --keep-free 20G --when-full delete
  keep the packets that no stream took     flowshard -r day.pcap -o out -w rest.pcapng
  why a stream is short                    flowshard explain out NAME
  hash all that is read and written        flowshard -r day.pcap -o out --manifest
  what has changed since                   flowshard verify out
  streams only, no report                  flowshard -r day.pcap -o out --no-report

exit status: 0 done; 2 usage; 3 an input is damaged (the rest of it was processed); 4 output failed;
70 a defect of flowshard; 130 interrupted; 141 standard output was closed
"""


class HelpAsked(Exception):
    """``-h`` or ``-V`` was met: leaves argparse at once, so that nothing else on the line needs to be right."""

    def __init__(self, wanted: str, text: str) -> None:
        super().__init__(wanted)
        self.wanted = wanted  # "help" or "version"
        self.text = text  # the help


def read_options(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options of ``argv`` as strings and flags, and the words that are left: the filter expression.

    Raises UsageError for options that are unknown, of a later version or lack their value, and HelpAsked.
    """
    end = argv.index("--") if "--" in argv else len(argv)
    # Two of argparse's habits are kept out: "-md5" as an option of its own would make "-m" and "-md"
    # mean it too, and words that are left over include options it does not know.
    options, rest = option_parser().parse_known_args(["--md5" if word == "-md5" else word for word in argv[:end]])
    for word in rest:
        if word.startswith("-") and word != "-":
            raise UsageError(
                f"unknown option {word}", "flowshard -h lists the options; a filter expression may follow --"
            )
    return options, [*rest, *argv[end + 1 :]]


class _Parser(argparse.ArgumentParser):
    """argparse, with errors as values of ours instead of usage text and an exit."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message.removeprefix("argument "), "flowshard -h lists the options")

    def format_help(self) -> str:
        self.epilog = f"protocols that -a and -e know: {' '.join(known_protocols())}\n\n{EXAMPLES}"  # no run needs them
        return super().format_help()


class _Ask(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise HelpAsked(self.dest, parser.format_help() if self.dest == "help" else "")


def option_parser() -> argparse.ArgumentParser:
    """All options, in the groups of the help."""
    parser = _Parser(
        prog="flowshard",
        usage="flowshard {-r FILE | -i IFACE} ... [-o DIR] [option ...] [filter expression]",
        description="Rebuild the TCP streams of captures into files, with a DFXML report.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    _add_input(parser)
    _add_live(parser)
    _add_streams(parser)
    _add_output(parser)
    _add_analysis(parser)
    _add_parts(parser)
    _add_running(parser)
    return parser


def _add_input(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what to read").add_argument
    add(
        "-r",
        "--read",
        metavar="FILE",
        action="append",
        help="read a capture: pcap, pcapng or snoop, plain or compressed (gzip, bzip2, xz, zstd, lz4); a pipe; "
        "- is standard input; a folder stands for the captures in it; repeatable: one timeline of all",
    )
    add("--start", metavar="TIME", help="only packets from this time on: 1714557600.25 (seconds since 1970)")
    add(
        "--end",
        metavar="TIME",
        help="only packets before this time; both also as 2024-05-01T10:00:00.25+02:00; without a zone it is UTC",
    )
    add("--follow", action="store_true", help="read plain captures and pipes on as they grow, until interrupted")
    add("--strict", action="store_true", help="stop reading a capture at its first damage instead of behind it")
    parser.add_argument_group(
        "filter expression",
        "The words that are left select packets, in the language of pcap-filter(7);\n"
        "give them last, and behind -- when one starts with a dash.",
    )


def _add_live(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what to capture").add_argument
    add("-i", "--interface", metavar="IFACE", action="append", help="capture on it; any for all; repeatable")
    add("--list-interfaces", action="store_true", help="show the interfaces, and exit")
    add("-s", "--snap-length", metavar="N", help="capture the first N bytes of each packet (default: all)")
    add("--duration", metavar="SECONDS", help="end after so long; else an interrupt (Ctrl-C) ends it")
    add("--packets", metavar="N", help="end after so many packets")
    add("--bytes", metavar="SIZE", help="end with the packet that reaches so many captured bytes")
    add("--direction", metavar="WAY", help="only packets that come in, or go out; inout (default)")
    add("--no-promiscuous", action="store_true", help="only packets to and from this host")
    add("--buffer-size", metavar="SIZE", help="the kernel's buffer of each interface (default: 64M)")
    add(
        "--user",
        metavar="USER",
        help="who to be once the interfaces are open (default: who called sudo, else nobody, as far as they may "
        "write the output)",
    )
    add(
        "--metrics",
        metavar="ADDR",
        help="serve Prometheus metrics: a port of this machine, HOST:PORT or [IPV6]:PORT",
    )
    add(
        "--interval",
        metavar="SECONDS",
        help="say so often how it is doing, where no terminal is (default: 10); SIGUSR1 asks for it at once",
    )
    add("--keep-packets", metavar="DIR", help="keep the packets, too: pcapng files in this folder, made if missing")
    add("--keep-size", metavar="SIZE", help="begin a new file of them before one is longer (default: 256M)")
    add("--keep-seconds", metavar="SECONDS", help="... and before one spans more time")
    add("--keep-files", metavar="N", help="keep that many of these files, the oldest goes (default: all)")


def _add_streams(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("how streams are made").add_argument
    add(
        "--overlap",
        metavar="POLICY",
        default="first",
        help="which bytes win where segments overlap: first (default), last, or as in the receiver's queue of bsd "
        "(Windows and macOS too), linux, solaris",
    )
    add("--verify-checksums", action="store_true", help="segments whose TCP checksum is wrong are no data")
    add("-C", "--max-bytes", metavar="N", help="keep only the first N bytes of each stream")
    add(
        "-R",
        "--append",
        "--no-duplicate-check",
        action="store_true",
        help="do not check for duplicate flows: later connections of one tuple are appended to the same file",
    )
    add("--ignore-vlan", action="store_true", help="one stream for equal addresses and ports on several VLANs")


def _add_output(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what to write").add_argument
    add(
        "-o",
        "--output",
        metavar="DIR",
        default=".",
        help="folder for all output, made if missing (default: this one)",
    )
    add(
        "-c",
        "--console",
        action="store_true",
        help="print the streams in packet order, with -a the requests and answers in them; no stream files, and no "
        "report unless -X",
    )
    add(
        "-F",
        "--format",
        metavar="FORMAT",
        help="names of files: %%A %%a source address and port, %%B %%b destination, %%T time, %%V VLAN, %%%%; "
        "folders with /",
    )
    add("-T", "--timestamp", action="store_true", help="put the connection's first time into the name")
    add("--md5", action="store_true", help="MD5 of each stream; -md5 will do as well")
    add("-X", "--report", metavar="FILE", help="where the DFXML report goes (default: DIR/report.xml)")
    add("--no-report", action="store_true", help="write no report")
    add("--flows", metavar="FILE", help="write a line of JSON for each connection, those without payload too")
    add("-w", "--write-unprocessed", metavar="FILE", help="write the packets that no stream took into a pcapng capture")
    add("--packet-map", action="store_true", help="write DIR/packet-map.tsv: where each packet's bytes are")
    add("--manifest", action="store_true", help="write DIR/manifest.json: SHA-256 of all inputs and all output")
    add("--overwrite", action="store_true", help="replace the output of an earlier run")


def _add_analysis(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what streams carry").add_argument
    add(
        "-a",
        "--analyze",
        action="store_true",
        help="look for the protocols that are known, and write what they carry into files beside the streams: "
        "NAME-HTTP (heads), NAME-HTTPBODY (a body as sent), NAME-HTTPBODY-GZIP (decoded)",
    )
    add(
        "-e",
        "--extract",
        metavar="PROTO",
        action="append",
        default=[],
        help="write the objects of a protocol, decoded, into DIR/objects, and an index, DIR/objects.jsonl; "
        "repeatable; below are those that there are",
    )
    add("--max-decoded", metavar="SIZE", help="what a compressed body is decoded to at most (default: 64M)")
    add("--max-ratio", metavar="N", help="... and how many times its own size, beyond 1M (default: 1000)")


def _add_parts(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("output of weeks, and room for it").add_argument
    add(
        "--rotate",
        metavar="WHAT",
        action="append",
        help="begin a new part, a folder with a report of its own, after a time (30s, 10m, 6h, 1d) or a size of "
        "captured bytes (500M, 10G); repeatable: whichever comes first; SIGHUP does so at once; "
        "for live, piped and followed inputs",
    )
    add("--max-output", metavar="SIZE", help="how many bytes of output may lie in DIR")
    add("--keep-free", metavar="SIZE", help="how many bytes of its file system are to stay free")
    add("--max-files", metavar="N", help="how many files may be made of streams and of what is found in them")
    add(
        "--when-full",
        metavar="POLICY",
        help="stop (default): write no payload any more, but go on counting; delete: remove the oldest complete "
        "parts, of earlier runs too",
    )


def _add_running(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("how to run").add_argument
    add(
        "--workers",
        metavar="N",
        help="processes that reassemble, and as many that write; 0: all in one (default: by cores and size)",
    )
    add("--writers", metavar="M", help="processes that write and hash")
    add(
        "--batch-packets",
        metavar="N",
        help=f"packets that travel together (default: {DEFAULT_BATCH_PACKETS})",
    )
    add(
        "--memory",
        metavar="SIZE",
        help="what connections, waiting segments, fragments and analyzers may take at most, at least 16M, beside some "
        "30M a process; beyond it the oldest are closed, and counted (limit.*)",
    )
    add("--spool-dir", metavar="DIR", help="where live, piped and compressed captures pass through (default: memory)")
    add(
        "--spool-size",
        metavar="SIZE",
        help="how much room they get there, at least 32M (default: 128M; live a quarter of the free memory, up to 2G)",
    )
    add(
        "--save-crash",
        metavar="DIR",
        help="when a process dies, keep the packets that it had in hand as a capture in this folder, made if missing",
    )
    add("--hash-key", metavar="KEY", help="number that keys the spread of connections over processes")
    add("--quiet", action="store_true", help="no progress bar, no summary")
    add(
        "-v", "--verbose", action="store_true", help="say what was read and show every counter; where a defect happened"
    )
    add("-V", "--version", nargs=0, action=_Ask, help="show the versions of flowshard and its libraries")
    add("-h", "--help", nargs=0, action=_Ask, help="show this")
