"""``python -m arbiter``: the same as the command `arbiter`."""

from __future__ import annotations

from arbiter.cli.main import main

if __name__ == "__main__":
    main()
