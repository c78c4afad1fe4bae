"""The lowest versions that pyproject.toml allows, as constraints for pip: a run is tried with them.

Knows: a requirement's name and its ``>=``. Does not know: registries, what is installed.
Invariant: one line for each package that a run needs; one without a lower bound is an error, since nobody could say
what works. The tools of the tests are not among them: which of those work is for who tests to see.

    python .ci/lowest.py > lowest.txt && pip install -c lowest.txt '.[test]'
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def lowest(project: Path = PROJECT) -> list[str]:
    """``name==version`` of each. SystemExit: a requirement says it in another way."""
    wanted = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    found = [re.fullmatch(r"([A-Za-z0-9_.-]+)>=([0-9.]+)", each) for each in wanted]
    for each, match in zip(wanted, found, strict=True):
        if match is None:
            raise SystemExit(f"{project}: {each} has no lower bound of the form name>=version")
    return [f"{match[1]}=={match[2]}" for match in found if match is not None]


if __name__ == "__main__":
    sys.stdout.write("\n".join(lowest()) + "\n")
