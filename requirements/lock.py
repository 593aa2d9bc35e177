"""Resolve what pyproject.toml asks for and write it down with hashes: `make lock`.

Four locks: the core alone, everything that `make test` and `make lint` need, the mutation
runner, which stands alone because it needs other packages on other Pythons, and clients that are
too large to be everybody's, for the examples in the docs.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
FLAGS = (
    "--quiet",
    "--generate-hashes",
    "--allow-unsafe",
    "--strip-extras",
    "--no-emit-index-url",
    "--no-emit-trusted-host",
    "--no-emit-find-links",
    "--no-header",
)


def main() -> None:
    """Write one .in and one .txt file for each of the locks."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    core = project["project"]["dependencies"]
    llama = project["project"]["optional-dependencies"]["llama"]
    groups = project["dependency-groups"]
    everything = [*core, *llama, *groups["dev"]]
    locks = {
        "core": core,
        "dev": everything,
        "mutation": [*everything, *groups["mutation"]],
        "clients": groups["clients"],
    }
    for name, wanted in locks.items():
        source = HERE / f"{name}.in"
        source.write_text("\n".join(dict.fromkeys(wanted)) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "piptools", "compile", *FLAGS]
        subprocess.run(  # noqa: S603  # our own command line, no outside input
            [*command, "-o", f"{name}.txt", f"{name}.in"], cwd=HERE, check=True
        )


if __name__ == "__main__":
    main()
