"""Pairs of the Responses dialect against the types of the openai package: what we send, and what our golden answers are made of."""

import json
import pathlib
import sys

import pydantic
from openai.types import chat
from openai.types.responses import Response, ResponseStreamEvent, response_create_params

folder = pathlib.Path(sys.argv[1])
asked = {
    False: pydantic.TypeAdapter(response_create_params.ResponseCreateParamsNonStreaming),
    True: pydantic.TypeAdapter(response_create_params.ResponseCreateParamsStreaming),
}
event, chunk = pydantic.TypeAdapter(ResponseStreamEvent), chat.ChatCompletionChunk


def known(body: dict) -> None:
    """No member that the package does not know: TypedDicts let them pass."""
    names = set(response_create_params.ResponseCreateParamsStreaming.__annotations__)
    names |= set(response_create_params.ResponseCreateParamsBase.__annotations__)
    assert set(body) <= names, set(body) - names


def datas(path: pathlib.Path) -> list[str]:
    lines = path.read_text().splitlines()
    return [line[6:] for line in lines if line.startswith("data: ") and line != "data: [DONE]"]


count = 0
for path in sorted(folder.glob("to_responses/*.out.json")):
    body = json.loads(path.read_text())
    known(body)
    # Lists are lazy in these types; written out again, all of each is looked at.
    asked[body["stream"]].dump_json(asked[body["stream"]].validate_python(body))
    count += 1
for path in sorted(folder.glob("stream/*.in.sse")):
    for data in datas(path):
        event.validate_json(data)
        count += 1
for path in sorted(folder.glob("whole/*.in.json")):
    Response.model_validate_json(path.read_text())
    count += 1
for path in sorted(folder.glob("whole/*.out.json")):
    chat.ChatCompletion.model_validate_json(path.read_text())
    count += 1
for path in sorted(list(folder.glob("stream/*.out.sse")) + list(folder.glob("whole/*.out.sse"))):
    for data in datas(path):
        told = json.loads(data)
        for choice in told["choices"]:
            # Custom calls are streamed all the same; the package has no type for their pieces.
            calls = choice["delta"].pop("tool_calls", None)
            choice["delta"]["tool_calls"] = [call for call in calls if "custom" not in call] if calls else None
        chunk.model_validate(told)
        count += 1
assert count > 100, count
print("fine", count)
