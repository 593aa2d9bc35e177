"""The command `arbiter`, and ``python -m arbiter``."""

from __future__ import annotations

import gc


def main() -> None:
    """Run the command line.

    Modules that are read in leave next to nothing to collect, and to look for it again and again
    takes a seventh of a start: what they leave is looked through once, when the house is open.
    """
    gc.disable()
    try:
        from arbiter.cli.main import main as run  # noqa: PLC0415  # not before that

        gc.freeze()
    finally:
        gc.enable()
    run()


if __name__ == "__main__":
    main()
