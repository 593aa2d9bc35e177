"""The real llama-server, as a person would start it: python -m tests.standins.llama_server MODEL.

It tells one line of JSON, ``{"url": ..., "pid": ...}``, when it answers, and leaves when its
standard input ends.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

import xllamacpp


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key")
    parser.add_argument("--alias")
    parser.add_argument("--embeddings", action="store_true")
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--slots", type=int, default=4)
    asked = parser.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = asked.model
    params.n_ctx = asked.context * asked.slots
    params.n_parallel = asked.slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.hostnames, params.port = ["127.0.0.1"], asked.port
    params.api_keys = [asked.key] if asked.key else []
    params.model_alias = {asked.alias} if asked.alias else set()
    params.embedding = asked.embeddings
    params.endpoint_slots = params.endpoint_props = params.endpoint_metrics = True
    params.ui = False
    params.n_threads_http = asked.slots + 8
    params.verbosity = 1
    server = xllamacpp.Server(params)
    sys.stdout.write(json.dumps({"url": server.listening_address, "pid": os.getpid()}) + "\n")
    sys.stdout.flush()
    while os.read(0, 4096):
        pass
    os._exit(0)  # its destructors wait for clients


if __name__ == "__main__":
    main()
