"""Config's decisions, as tables: how many processes, what is a number, what -F may say."""

from __future__ import annotations

import pytest

from pipeline.config import LONGEST_NAME, SMALL_INPUT, check_name_format, choose_processes, whole_number
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
    size: int, cores: int, workers: int | None, writers: int | None, expected: tuple[int, int]
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
    "text", ["%A.%a-%B.%b", "%T%A", "%%", "%V", "stream", "…", "a b", "x" * LONGEST_NAME, "100%%", ".%a"]
)
def test_known_formats_pass(text: str) -> None:
    """The documented codes, text, and a coarse format are all fine."""
    check_name_format(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("%Q", "unknown code '%Q'"),
        ("%A%", "unknown code '%' in"),
        ("%%%", "unknown code '%' in"),
        ("%v", "unknown code '%v'"),
        ("%A/%B", "has a '/'"),
        ("../x", "has a '/'"),
        (".", "a folder's name"),
        ("..", "a folder's name"),
        ("a\nb", "does not print"),
        ("\x1b[2J", "does not print"),
        ("x" * (LONGEST_NAME + 1), "201 bytes"),
        ("é" * LONGEST_NAME, "400 bytes"),
        ("%A" * 6, "234 bytes"),
    ],
)
def test_a_format_that_cannot_name_files_is_refused(text: str, problem: str) -> None:
    """No unknown letter, no way out of the folder, no name that a file system refuses halfway."""
    with pytest.raises(UsageError) as caught:
        check_name_format(text)
    assert problem in caught.value.message
    assert caught.value.hint
