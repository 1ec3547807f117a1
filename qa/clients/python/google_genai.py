"""Google's own Python SDK against Alfred: only the base URL and the key are other ones.

    google_genai.py BASE_URL KEY MODEL [noise]

With `noise` the model says anything: only that it says something is looked at.
"""

import asyncio
import sys

from google import genai
from google.genai import errors, types

base_url, key, model, *noise = sys.argv[1:]
client = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=base_url))
weather = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="weather",
            description="The weather of a city",
            parameters=types.Schema(
                type="OBJECT", properties={"city": types.Schema(type="STRING")}, required=["city"]
            ),
        )
    ]
)
no_calling = types.AutomaticFunctionCallingConfig(disable=True)


def talk():
    answer = client.models.generate_content(
        model=model,
        contents="Say hello",
        config=types.GenerateContentConfig(system_instruction="Be brief.", max_output_tokens=100, temperature=0.2),
    )
    assert answer.text == "Hello there, traveller!", answer
    assert answer.usage_metadata.prompt_token_count == 10, answer
    assert answer.usage_metadata.candidates_token_count == 5, answer
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP, answer


def stream():
    pieces = list(client.models.generate_content_stream(model=model, contents="Hello in parts"))
    said = "".join(piece.text or "" for piece in pieces)
    assert said.startswith("Hello in parts to you as well"), said
    assert len(pieces) > 2, pieces
    assert pieces[-1].usage_metadata.prompt_token_count == 10, pieces[-1]


def tools():
    config = types.GenerateContentConfig(tools=[weather], automatic_function_calling=no_calling, max_output_tokens=100)
    asked = types.Content(role="user", parts=[types.Part(text="What is the weather?")])
    answer = client.models.generate_content(model=model, contents=[asked], config=config)
    call = answer.function_calls[0]
    assert (call.name, call.args) == ("weather", {"city": "Paris"}), call
    result = types.Part(function_response=types.FunctionResponse(id=call.id, name="weather", response={"result": "sunny"}))
    history = [asked, answer.candidates[0].content, types.Content(role="user", parts=[result])]
    after = client.models.generate_content(model=model, contents=history, config=config)
    assert after.text == "It is sunny in Paris.", after


def chat():
    # A chat keeps its own history.
    talk = client.chats.create(model=model)
    assert talk.send_message("Say hello").text == "Hello there, traveller!"
    assert talk.send_message("Say hello").text == "Hello there, traveller!"


def structured():
    schema = types.Schema(
        type="OBJECT",
        properties={"city": types.Schema(type="STRING"), "celsius": types.Schema(type="INTEGER")},
        required=["city", "celsius"],
    )
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=schema)
    try:
        answer = client.models.generate_content(model=model, contents="The weather as an object", config=config)
    except errors.ClientError as error:
        # A target without structured output says so by name.
        assert "responseSchema" in str(error) or "response" in str(error), error
        return
    assert '"city"' in answer.text, answer


async def at_once():
    ask = lambda: client.aio.models.generate_content(model=model, contents="Say hello")
    answers = await asyncio.gather(*(ask() for _ in range(8)))
    assert all(answer.text == "Hello there, traveller!" for answer in answers)


def count():
    assert client.models.count_tokens(model=model, contents="Say hello").total_tokens >= 2


def listed():
    assert any(model in (it.name or "") for it in client.models.list()), "the model is listed"


def refused():
    stranger = genai.Client(api_key="sk-alf-nobody", http_options=types.HttpOptions(base_url=base_url))
    try:
        stranger.models.generate_content(model=model, contents="Say hello")
    except errors.ClientError as error:
        assert (error.code, error.status) == (401, "UNAUTHENTICATED"), error
    else:
        raise AssertionError("a stranger is answered")
    try:
        client.models.generate_content(model="nobody-knows-this", contents="Say hello")
    except errors.ClientError as error:
        assert (error.code, error.status) == (404, "NOT_FOUND"), error
    else:
        raise AssertionError("an unknown model answers")


def anything():
    config = types.GenerateContentConfig(max_output_tokens=16, temperature=0)
    answer = client.models.generate_content(model=model, contents="Say hello", config=config)
    assert answer.text and answer.usage_metadata.candidates_token_count > 0, answer
    pieces = list(client.models.generate_content_stream(model=model, contents="Say hello", config=config))
    assert "".join(piece.text or "" for piece in pieces) == answer.text, pieces
    assert pieces[-1].usage_metadata.candidates_token_count > 0, pieces[-1]


if noise:
    anything()
else:
    talk()
    stream()
    tools()
    chat()
    structured()
    asyncio.run(at_once())
count()
listed()
refused()
print("fine")
