"""OpenAI's own Python SDK asking for responses and embeddings.

    openai_responses.py BASE_URL KEY MODEL [noise]

With `noise` the model says anything: only that it says something is looked at.
"""

import asyncio
import json
import sys

import openai
from pydantic import BaseModel

base_url, key, model, *noise = sys.argv[1:]
client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=60)
weather = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


def talk():
    answer = client.responses.create(model=model, input="Say hello", instructions="Be brief.", max_output_tokens=100)
    assert answer.output_text == "Hello there, traveller!", answer
    assert answer.status == "completed", answer
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (10, 5), answer.usage


def stream():
    kinds, said, last = [], "", None
    for event in client.responses.create(model=model, input="Hello in parts", stream=True):
        kinds.append(event.type)
        if event.type == "response.output_text.delta":
            said += event.delta
        last = event
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds
    assert said.startswith("Hello in parts to you as well") and last.response.output_text == said, said
    with client.responses.stream(model=model, input="Hello in parts") as stream:
        stream.until_done()
        assert stream.get_final_response().output_text == said


def tools():
    asked = [{"role": "user", "content": "What is the weather?"}]
    answer = client.responses.create(model=model, input=asked, tools=[weather])
    call = next(item for item in answer.output if item.type == "function_call")
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Paris"}), call
    history = asked + [
        item.model_dump(exclude_none=True) for item in answer.output
    ] + [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
    after = client.responses.create(model=model, input=history, tools=[weather])
    assert after.output_text == "It is sunny in Paris.", after

    arguments = ""
    for event in client.responses.create(model=model, input=asked, tools=[weather], stream=True):
        if event.type == "response.function_call_arguments.delta":
            arguments += event.delta
    assert json.loads(arguments) == {"city": "Paris"}, arguments


def structured():
    class Weather(BaseModel):
        city: str
        celsius: int

    answer = client.responses.parse(model=model, input="The weather as an object", text_format=Weather)
    assert answer.output_parsed == Weather(city="Paris", celsius=21), answer


def embeddings():
    answer = client.embeddings.create(model="openai/e", input=["one", "two"])
    assert len(answer.data) == 2 and len(answer.data[0].embedding) > 100, answer
    plain = client.embeddings.create(model="openai/e", input="one", encoding_format="float")
    pairs = zip(plain.data[0].embedding, answer.data[0].embedding)
    assert all(abs(a - b) < 1e-6 for a, b in pairs), "the same vector, however it is told"


async def at_once():
    many = openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=60)
    answers = await asyncio.gather(*(many.responses.create(model=model, input="Say hello") for _ in range(8)))
    assert all(answer.output_text == "Hello there, traveller!" for answer in answers)


def refused():
    try:
        client.responses.create(model="nobody-knows-this", input="Say hello")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error
    else:
        raise AssertionError("an unknown model answers")
    try:
        client.responses.create(model=model, input="Say hello", background=True)
    except openai.BadRequestError as error:
        assert error.param == "background", error
    else:
        raise AssertionError("what cannot be metered is answered")


def anything():
    asked = dict(model=model, input="Say hello", max_output_tokens=16, temperature=0)
    answer = client.responses.create(**asked)
    assert answer.output_text and answer.usage.output_tokens > 0, answer
    said = ""
    for event in client.responses.create(**asked, stream=True):
        said += event.delta if event.type == "response.output_text.delta" else ""
    assert said == answer.output_text, (said, answer)


if noise:
    anything()
else:
    talk()
    stream()
    tools()
    structured()
    embeddings()
    asyncio.run(at_once())
refused()
print("fine")
