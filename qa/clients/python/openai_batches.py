"""Files and batches with OpenAI's own Python SDK through Alfred, as its guide does it.

    openai_batches.py BASE_URL KEY MODEL ENDPOINT
"""

import io
import json
import sys
import time

import openai

base_url, key, model, endpoint = sys.argv[1:]
client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=60)
asks = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Say hello"}], "max_tokens": 20},
    "/v1/responses": {"input": "Say hello", "max_output_tokens": 20},
    "/v1/completions": {"prompt": "Say hello", "max_tokens": 20},
    "/v1/embeddings": {"input": "Say hello"},
}
ids = ["first", "second", "third"]
lines = [
    json.dumps({"custom_id": i, "method": "POST", "url": endpoint, "body": {"model": model, **asks[endpoint]}})
    for i in ids
]

uploaded = client.files.create(file=("requests.jsonl", io.BytesIO("\n".join(lines).encode())), purpose="batch")
assert uploaded.id.startswith("file-") and uploaded.purpose == "batch", uploaded
assert client.files.retrieve(uploaded.id).id == uploaded.id
sent = client.files.content(uploaded.id).text
assert [json.loads(line)["custom_id"] for line in sent.splitlines()] == ids, sent

batch = client.batches.create(
    input_file_id=uploaded.id, endpoint=endpoint, completion_window="24h", metadata={"job": "nightly"}
)
assert batch.id.startswith("batch_") and batch.status == "validating" and batch.metadata == {"job": "nightly"}, batch
for _ in range(200):
    batch = client.batches.retrieve(batch.id)
    if batch.status in ("completed", "failed", "expired", "cancelled"):
        break
    time.sleep(0.1)
assert batch.status == "completed" and batch.request_counts.completed == 3, batch
assert batch.id in [it.id for it in client.batches.list(limit=5)]

output = client.files.content(batch.output_file_id).text
answers = {it["custom_id"]: it["response"] for it in map(json.loads, output.splitlines())}
assert sorted(answers) == sorted(ids) and all(it["status_code"] == 200 for it in answers.values()), answers
assert {batch.output_file_id, uploaded.id} <= {it.id for it in client.files.list()}

again = client.batches.create(input_file_id=uploaded.id, endpoint=endpoint, completion_window="24h")
again = client.batches.cancel(again.id)
assert again.status in ("cancelling", "cancelled"), again

assert client.files.delete(uploaded.id).deleted
try:
    client.files.retrieve(uploaded.id)
    raise AssertionError("a file that was deleted is still there")
except openai.NotFoundError as gone:
    assert gone.code == "not_found", gone
try:
    client.files.create(file=("a.jsonl", io.BytesIO(b"{}")), purpose="batch")
    raise AssertionError("a line that is none was taken")
except openai.BadRequestError as bad:
    assert "Line 1" in str(bad), bad
try:
    client.files.create(file=("a.jsonl", io.BytesIO(lines[0].encode())), purpose="user_data")
    raise AssertionError("a file for nothing was taken")
except openai.BadRequestError as bad:
    assert bad.param == "purpose", bad
print("fine")
