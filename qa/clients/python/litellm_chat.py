"""LiteLLM as a client of Alfred.

    litellm_chat.py BASE_URL KEY MODEL [noise]

With `noise` the model says anything: only that it says something is looked at.
"""

import asyncio
import json
import os
import sys

# Its price list comes with the package; nothing is fetched.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm

base_url, key, model, *noise = sys.argv[1:]
litellm.suppress_debug_info = True
asked = dict(model=f"openai/{model}", api_base=base_url, api_key=key, num_retries=0, timeout=60, max_tokens=200)
look = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def user(text):
    return [{"role": "user", "content": text}]


def talk():
    answer = litellm.completion(messages=user("Say hello"), **asked)
    assert answer.choices[0].message.content == "Hello there, traveller!", answer
    assert answer.usage.prompt_tokens == 10, answer


def stream():
    said, usage = "", None
    pieces = litellm.completion(
        messages=user("Hello in parts"), stream=True, stream_options={"include_usage": True}, **asked
    )
    for piece in pieces:
        said += piece.choices[0].delta.content or ""
        usage = getattr(piece, "usage", None) or usage
    assert said.startswith("Hello in parts to you as well"), said
    assert usage.prompt_tokens == 10, usage


def tools():
    answer = litellm.completion(messages=user("What is the weather?"), tools=[look], **asked)
    call = answer.choices[0].message.tool_calls[0]
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Paris"}), call
    history = user("What is the weather?") + [
        answer.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    after = litellm.completion(messages=history, tools=[look], **asked)
    assert after.choices[0].message.content == "It is sunny in Paris.", after


def embeddings():
    answer = litellm.embedding(model="openai/openai/e", input=["one", "two"], api_base=base_url, api_key=key)
    assert len(answer.data) == 2 and len(answer.data[0]["embedding"]) > 100, answer


async def at_once():
    ask = lambda: litellm.acompletion(messages=user("Say hello"), **asked)
    answers = await asyncio.gather(*(ask() for _ in range(8)))
    assert all(answer.choices[0].message.content == "Hello there, traveller!" for answer in answers)


def refused():
    try:
        litellm.completion(messages=user("Say hello"), **{**asked, "api_key": "sk-alf-nobody"})
    except litellm.AuthenticationError:
        return
    raise AssertionError("a stranger is answered")


def anything():
    short = {**asked, "max_tokens": 16, "temperature": 0}
    answer = litellm.completion(messages=user("Say hello"), **short)
    assert answer.choices[0].message.content and answer.usage.completion_tokens > 0, answer
    pieces = litellm.completion(messages=user("Say hello"), stream=True, **short)
    said = "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert said == answer.choices[0].message.content, (said, answer)


if noise:
    anything()
else:
    talk()
    stream()
    tools()
    embeddings()
    asyncio.run(at_once())
refused()
print("fine")
