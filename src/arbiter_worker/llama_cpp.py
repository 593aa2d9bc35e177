"""llama.cpp in a process of its own: ``python -m arbiter_worker.llama_cpp``.

Needs the package xllamacpp and nothing else. See `arbiter_worker.launch` for how it is spoken to.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final, NoReturn

from arbiter_worker.launch import (
    Configuration,
    become_private,
    claim_stdout,
    heed_orders_to_leave,
    read_configuration,
    remove_socket,
    wait_for_the_end,
)

_SMALL_BYTES: Final = 64 * 1024 * 1024
_SPARE_HTTP_THREADS: Final = 4
_WARNINGS: Final = 2


def threads_for(configuration: Configuration) -> int:
    """How many threads to compute with, when nobody said.

    Threads meet at a barrier after every operation. In a small model the barriers cost more than
    the arithmetic, and on a busy machine they cost milliseconds each.
    """
    if configuration.threads is not None:
        return configuration.threads
    if Path(configuration.model).stat().st_size < _SMALL_BYTES:
        return 1
    return max(1, (os.cpu_count() or 2) // 2)


def start_server(configuration: Configuration) -> object:
    """Load the model and listen. Its `listening_address` says where."""
    import xllamacpp  # noqa: PLC0415  # slow, and its absence is to be announced

    params = xllamacpp.CommonParams()
    params.model.path = configuration.model
    # llama.cpp divides its context among its slots
    params.n_ctx = configuration.context * configuration.slots
    params.n_parallel = configuration.slots
    params.cpuparams.n_threads = threads_for(configuration)
    params.cpuparams_batch.n_threads = params.cpuparams.n_threads
    if configuration.gpu_layers is not None:
        params.n_gpu_layers = configuration.gpu_layers
    # tools are put into the prompt and read out of the answer by the model's own template
    params.use_jinja = True
    if configuration.chat_template is not None:
        params.chat_template = configuration.chat_template
    if configuration.embeddings:
        # how a text's tokens become one vector stands in the file; a text is read in one piece
        params.embedding = True
        params.n_batch = params.n_ubatch = configuration.context
    params.api_keys = [configuration.key]
    params.hostnames = [configuration.socket or "127.0.0.1"]
    params.port = 0
    # its own default lets every web page in
    params.cors_origins = "http://127.0.0.1"
    params.cors_credentials = False
    params.ui = False
    params.endpoint_slots = False
    params.endpoint_props = False
    params.endpoint_metrics = False
    params.warmup = True
    # a connection holds one of these for as long as it is open, idle or not
    params.n_threads_http = configuration.slots + _SPARE_HTTP_THREADS
    params.verbosity = _WARNINGS
    return xllamacpp.Server(params)


def main() -> NoReturn:
    """Load, announce, serve. The exit status is 1 when the model could not be loaded."""
    announce = claim_stdout()
    become_private()
    try:
        configuration = read_configuration()
        server = start_server(configuration)
    except (ImportError, RuntimeError, OSError, ValueError, TypeError) as error:
        announce({"error": str(error)})
        sys.exit(1)
    address = configuration.socket or str(getattr(server, "listening_address", ""))
    leave = heed_orders_to_leave(lambda: remove_socket(configuration.socket))
    announce({"ready": True, "address": address, "pid": os.getpid()})
    wait_for_the_end()
    leave()


if __name__ == "__main__":
    main()
