"""Starts one peer gateway in this process, on the loopback, with everything that it could govern switched off.

    peers.py tensorzero|litellm UPSTREAM_URL PORT FOLDER

Writes FOLDER/started as JSON once it has an address: {"url": …, "bare_kb": …}, the latter the resident memory of the
interpreter and the module before the gateway was started. Ends when its standard input does.
"""

import asyncio
import json
import os
import pathlib
import sys
import threading

who, upstream, port, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), pathlib.Path(sys.argv[4])


def end_with_parent():
    sys.stdin.buffer.read()
    os._exit(0)


def resident_kb():
    for line in open("/proc/self/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def started(url):
    whole = folder / "starting"
    whole.write_text(json.dumps({"url": url, "bare_kb": bare}))
    whole.rename(folder / "started")


threading.Thread(target=end_with_parent, daemon=True).start()

if who == "tensorzero":
    os.environ["TENSORZERO_DISABLE_PSEUDONYMOUS_USAGE_ANALYTICS"] = "1"
    os.environ["RUST_LOG"] = "error"
    import tensorzero

    bare = resident_kb()
    config = folder / "tensorzero.toml"
    config.write_text(
        f"""
[models.bench]
routing = ["up"]
[models.bench.providers.up]
type = "openai"
model_name = "model"
api_base = "{upstream}/v1/"
api_key_location = "none"
[models.slow]
routing = ["up"]
[models.slow.providers.up]
type = "openai"
model_name = "model"
api_base = "{upstream}/slow/v1/"
api_key_location = "none"
"""
    )

    async def serve():
        # Kept: the gateway ends with its handle.
        gateway = tensorzero._start_http_gateway(
            config_file=str(config), clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
        )
        started(gateway.base_url)
        await asyncio.Event().wait()

    asyncio.run(serve())
elif who == "litellm":
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LITELLM_LOG"] = "ERROR"
    # It would not start without a key of its own; a peer with nothing on has none.
    os.environ["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"
    from litellm import run_server

    bare = resident_kb()
    config = folder / "litellm.yaml"
    models = [
        {"model_name": name, "litellm_params": {"model": "openai/model", "api_base": base, "api_key": "none"}}
        for name, base in [("bench", f"{upstream}/v1"), ("slow", f"{upstream}/slow/v1")]
    ]
    # JSON is YAML.
    config.write_text(json.dumps({"model_list": models, "litellm_settings": {"num_retries": 0, "telemetry": False}}))
    started(f"http://127.0.0.1:{port}/v1")
    run_server(["--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"])
else:
    sys.exit(f"no such peer: {who}")
