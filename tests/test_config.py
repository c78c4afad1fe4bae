"""Config's decisions, as tables: how many processes, what is a number, a size, a time, what -F may say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import (
    LONGEST_NAME,
    LONGEST_PATH,
    LONGEST_WITH_KIND,
    MOST_FOLDERS,
    SMALL_INPUT,
    byte_size,
    check_name_format,
    choose_processes,
    point_in_time,
    whole_number,
)
from pipeline.errors import UsageError

LARGE = SMALL_INPUT


@pytest.mark.parametrize(
    ("size", "cores", "workers", "writers", "expected"),
    [
        # nothing said: a small input stays in one process, whatever the machine
        (0, 64, None, None, (0, 1)),
        (SMALL_INPUT - 1, 2, None, None, (0, 1)),
        (SMALL_INPUT - 1, 2, None, 3, (0, 3)),
        # nothing said, a large one: half the cores reassemble, and two write as soon as there are two
        (LARGE, 1, None, None, (1, 1)),
        (LARGE, 2, None, None, (1, 2)),
        (LARGE, 3, None, None, (1, 2)),
        (LARGE, 4, None, None, (2, 2)),
        (LARGE, 16, None, None, (8, 8)),
        (LARGE, 1000, None, None, (64, 64)),
        (LARGE, 2, None, 1, (1, 1)),
        # a pipe has no size, and counts as large
        (None, 2, None, None, (1, 2)),
        (None, 2, 0, None, (0, 1)),
        # --workers N means N writers too, whatever the size
        (0, 2, 0, None, (0, 1)),
        (LARGE, 2, 0, None, (0, 1)),
        (0, 2, 1, None, (1, 1)),
        (0, 1, 4, None, (4, 4)),
        (LARGE, 16, 4, 2, (4, 2)),
        (0, 2, 0, 2, (0, 2)),
    ],
)
def test_processes_are_chosen_from_size_and_cores(
    size: int | None, cores: int, workers: int | None, writers: int | None, expected: tuple[int, int]
) -> None:
    """What the user says holds; else the input's size and the cores decide."""
    assert expected == choose_processes(size, cores, workers, writers)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("7", 7), ("007", 7), ("0x10", 16), ("0XfF", 255), ("-3", -3), ("100", 100)],
)
def test_numbers_are_decimal_or_hexadecimal(text: str, expected: int) -> None:
    """A number is read as people write it."""
    assert expected == whole_number("--n", text, -3, 255)


@pytest.mark.parametrize("text", ["", "many", "1.5", "1e3", "1_0", " 1", "+1", "--1", "٣", "0x", "0b1", "9" * 21])
def test_what_is_no_number_is_refused(text: str) -> None:
    """What int() would be generous about is a typing error here; the message names option and text."""
    with pytest.raises(UsageError, match=r"--n: '.*' is not a whole number") as caught:
        whole_number("--n", text, 0, 9)
    assert caught.value.hint == "give a whole number from 0 to 9"


@pytest.mark.parametrize("text", ["-1", "10", "99999999999999999999"])
def test_a_number_out_of_range_is_refused(text: str) -> None:
    """The range stands in the hint."""
    with pytest.raises(UsageError, match=f"^--n: {text} is out of range$"):
        whole_number("--n", text, 0, 9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("1023", 1023),
        ("1K", 1 << 10),
        ("1k", 1 << 10),
        ("32M", 32 << 20),
        ("3g", 3 << 30),
        ("4096M", 4 << 30),
    ],
)
def test_sizes_have_suffixes(text: str, expected: int) -> None:
    """K, M and G are powers of 1024."""
    assert expected == byte_size("--n", text, 1, 1 << 40)


@pytest.mark.parametrize("text", ["", "M", "1T", "1.5G", "1 M", "1MB", "-1M", "+1", "0x10", "٣M", "1" * 20])
def test_what_is_no_size_is_refused(text: str) -> None:
    """The message names option and text, the hint the bounds in the same manner."""
    with pytest.raises(UsageError) as caught:
        byte_size("--n", text, 32 << 20, 1 << 40)
    assert caught.value.message == f"--n: '{text}' is not a size"
    assert str(caught.value.hint).startswith("give a number of bytes from 32M to 1024G;")


@pytest.mark.parametrize("text", ["0", "33554431", "32767K", "1025G", "1" * 19 + "G"])
def test_a_size_out_of_range_is_refused(text: str) -> None:
    """Both bounds hold."""
    with pytest.raises(UsageError, match=f"^--n: {text} is out of range$"):
        byte_size("--n", text, 32 << 20, 1 << 40)


MAY_DAY = 1_714_557_600 * 10**9  # 2024-05-01T10:00:00Z


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1714557600", MAY_DAY),
        ("1714557600.000000001", MAY_DAY + 1),
        ("1714557600.1", MAY_DAY + 100_000_000),
        ("1714557600.123456789", MAY_DAY + 123_456_789),
        ("9223372036.854775807", (1 << 63) - 1),
        ("2024-05-01T10:00:00Z", MAY_DAY),
        ("2024-05-01T10:00:00", MAY_DAY),
        ("2024-05-01 10:00", MAY_DAY),
        ("2024-05-01T10:00Z", MAY_DAY),
        ("2024-05-01T10:00:00.5", MAY_DAY + 500_000_000),
        ("2024-05-01 10:00:00.123456789Z", MAY_DAY + 123_456_789),
        ("2024-05-01T12:00:00+02:00", MAY_DAY),
        ("2024-05-01T04:30:00.000000001-05:30", MAY_DAY + 1),
        ("2024-05-01", MAY_DAY - 10 * 3600 * 10**9),
        ("2024-02-29T00:00", 1_709_164_800 * 10**9),
        ("1970-01-01T01:00:00+01:00", 0),
    ],
)
def test_times_are_seconds_or_calendar_times(text: str, expected: int) -> None:
    """Exact to the nanosecond; UTC unless a zone stands there."""
    assert expected == point_in_time("--start", text)


@given(
    st.integers(86_400, 9_214_646_400).map(lambda since: datetime.fromtimestamp(since, UTC)),
    st.integers(0, 999_999_999),
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_calendar_times_are_those_of_datetime(time: datetime, fraction: int, ahead: int) -> None:
    """Any time in any zone is what the library makes of it, with a fraction that it could not hold."""
    there = time.replace(tzinfo=timezone(timedelta(minutes=ahead)))
    zone = f"{'-' if ahead < 0 else '+'}{abs(ahead) // 60:02}:{abs(ahead) % 60:02}"
    since = there.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    expected = (since.days * 86_400 + since.seconds) * 10**9 + fraction
    text = there.strftime("%Y-%m-%dT%H:%M:%S")
    assert point_in_time("--end", f"{text}.{fraction:09}{zone}") == expected
    assert point_in_time("--end", f"{expected // 10**9}.{fraction:09}") == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "-1", "+1", "1e9", "2024-", "1.", ".5", "1.0123456789", "0x10", "1_0", "٣", "1714557600Z", "10:00",
        "2024-05", "2024-5-1", "2024-02-30", "2023-02-29", "0000-01-01", "2024-05-01T", "2024-05-01T10",
        "2024-05-01T24:00", "2024-05-01T10:60", "2024-05-01T10:00:60", "2024-05-01T10:00.5", "2024-05-01Z",
        "2024-05-01T10:00+0200", "2024-05-01T10:00+24:00", "2024-05-01T10:00+02:60", "2024-05-01T10:00 CET",
        "2024-05-01t10:00", "2024-05-01T10:00:00.0123456789", "2024-05-01T10:00\n",
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    """Nothing is guessed; the hint shows both forms and says what is meant without a zone."""
    with pytest.raises(UsageError) as caught:
        point_in_time("--start", text)
    assert caught.value.message == f"--start: '{text}' is not a time"
    assert "UTC without zone" in str(caught.value.hint)


@pytest.mark.parametrize(
    "text", ["9223372036.854775808", "9" * 19, "2262-04-12", "1969-12-31", "1970-01-01T00:00+00:01"]
)
def test_a_time_that_no_packet_can_have_is_refused(text: str) -> None:
    """64 bits of ns from 1970 on."""
    with pytest.raises(UsageError) as caught:
        point_in_time("--start", text)
    assert caught.value.message == f"--start: {text} is not between 1970 and 2262"


@pytest.mark.parametrize(
    "text",
    [
        "%A.%a-%B.%b",
        "%T%A",
        "%%",
        "%V",
        "stream",
        "…",
        "a b",
        "x" * LONGEST_NAME,
        "100%%",
        ".%a",
        "%A/%T/%a-%B.%b",
        "%V/x",
        "..x/.y",
        ".%V/..%V/%V",
        "a/" * MOST_FOLDERS + "x",
        "/".join(["x" * LONGEST_NAME] * 5 + ["x" * (LONGEST_PATH - 5 * LONGEST_NAME - 5)]),
    ],
)
def test_known_formats_pass(text: str) -> None:
    """The documented codes, text, a coarse format, and folders are all fine."""
    check_name_format(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("%Q", "unknown code '%Q'"),
        ("%A%", "unknown code '%' in"),
        ("%%%", "unknown code '%' in"),
        ("%v", "unknown code '%v'"),
        ("/%A", "begins with a '/'"),
        ("/", "begins with a '/'"),
        ("%A/", "a file without a name"),
        ("%A//%B", "a folder or a file without a name"),
        ("../x", "a folder's name"),
        ("x/../y", "a folder's name"),
        ("./x", "a folder's name"),
        (".", "a folder's name"),
        ("..", "a folder's name"),
        ("x/" * MOST_FOLDERS + "x/y", f"more than {MOST_FOLDERS} folders"),
        ("a\nb", "does not print"),
        ("\x1b[2J", "does not print"),
        ("x" * (LONGEST_NAME + 1), f"{LONGEST_NAME + 1} bytes"),
        ("é" * LONGEST_NAME, f"{2 * LONGEST_NAME} bytes"),
        ("x" * (LONGEST_NAME + 1) + "/y", f"{LONGEST_NAME + 1} bytes"),
        ("/".join(["x" * LONGEST_NAME] * 5 + ["x" * (LONGEST_PATH - 5 * LONGEST_NAME - 4)]), "1001 bytes"),
        ("/".join(["x" * LONGEST_NAME] * 6), f"{6 * LONGEST_NAME + 5} bytes"),
        ("%A" * 6, "234 bytes"),
    ],
)
def test_a_format_that_cannot_name_files_is_refused(text: str, problem: str) -> None:
    """No unknown letter, no way out of the folder, no name that a file system refuses halfway."""
    with pytest.raises(UsageError) as caught:
        check_name_format(text)
    assert problem in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(("longest", "analyze"), [(LONGEST_NAME, False), (LONGEST_WITH_KIND, True)])
def test_names_are_shorter_where_more_comes_behind_them(longest: int, analyze: bool) -> None:
    """With -a: of folders that is not so."""
    check_name_format("x" * LONGEST_NAME + "/" + "x" * longest, analyze=analyze)
    with pytest.raises(UsageError, match=f"{longest + 1} bytes"):
        check_name_format("x" * (longest + 1), analyze=analyze)
