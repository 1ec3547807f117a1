"""OpenAI's own Python SDK against Alfred, as an app would use it: only the base URL and the key are other ones.

    openai_sync.py BASE_URL KEY MODEL talk|tools|errors|retries [MORE]
"""

import json
import sys

import openai

base_url, key, model, part, *more = sys.argv[1:]
client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=60)
hello = [{"role": "user", "content": "Say hello"}]
look = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def talk():
    assert model in [m.id for m in client.models.list()], "the model is listed"
    answer = client.chat.completions.create(model=model, messages=hello, max_tokens=20, temperature=0)
    assert answer.choices[0].message.content, answer
    assert answer.usage.completion_tokens > 0, answer
    raw = client.chat.completions.with_raw_response.create(model=model, messages=hello, max_tokens=20, temperature=0)
    assert raw.headers["x-request-id"].startswith("req_"), raw.headers
    assert float(raw.headers["x-alfred-cost-usd"]) >= 0
    assert raw.parse().choices[0].message.content == answer.choices[0].message.content, "the same question, the same answer"

    said, usage, finish = "", None, None
    stream = client.chat.completions.create(
        model=model, messages=hello, max_tokens=20, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    for chunk in stream:
        if chunk.usage:
            usage = chunk.usage
        for choice in chunk.choices:
            said += choice.delta.content or ""
            finish = choice.finish_reason or finish
    assert said == answer.choices[0].message.content, (said, answer)
    assert finish in ("stop", "length"), finish
    assert usage and usage.completion_tokens > 0, usage
    assert usage.model_extra["alfred_cost_usd"], usage

    # Without asking for usage there is none.
    for chunk in client.chat.completions.create(model=model, messages=hello, max_tokens=20, temperature=0, stream=True):
        assert chunk.usage is None, chunk

    # And an app that stops listening.
    with client.chat.completions.create(model=model, messages=hello, max_tokens=20, stream=True) as stream:
        next(iter(stream))


def tools():
    answer = client.chat.completions.create(model=model, messages=hello, tools=[look], tool_choice="auto", max_tokens=50)
    call = answer.choices[0].message.tool_calls[0]
    assert answer.choices[0].finish_reason == "tool_calls", answer
    assert call.function.name == "weather" and "city" in json.loads(call.function.arguments), call
    history = hello + [
        answer.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    after = client.chat.completions.create(model=model, messages=history, tools=[look], max_tokens=50)
    assert after.choices[0].message.content, after

    name, arguments, finish = "", "", None
    for chunk in client.chat.completions.create(model=model, messages=hello, tools=[look], max_tokens=50, stream=True):
        for choice in chunk.choices:
            finish = choice.finish_reason or finish
            for delta in choice.delta.tool_calls or []:
                name += (delta.function and delta.function.name) or ""
                arguments += (delta.function and delta.function.arguments) or ""
    assert (name, finish) == ("weather", "tool_calls"), (name, finish)
    assert "city" in json.loads(arguments), arguments


def raises(kind, code, ask):
    try:
        ask()
    except openai.APIStatusError as error:
        assert type(error) is kind, (type(error), error)
        assert error.code == code, (error.code, error)
        assert error.request_id.startswith("req_"), error.request_id
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def errors():
    limited, broke, bound = more
    ask = lambda client, **changes: client.chat.completions.create(
        **{"model": model, "messages": hello, "max_tokens": 20, **changes}
    )
    as_who = lambda key, retries=0: openai.OpenAI(base_url=base_url, api_key=key, max_retries=retries, timeout=60)
    raises(openai.AuthenticationError, "invalid_api_key", lambda: ask(as_who("sk-alf-nobody")))
    ask(as_who(limited))
    raises(openai.RateLimitError, "rate_limit_exceeded", lambda: ask(as_who(limited)))
    # Told not to try again, it does not, however often it would.
    error = raises(openai.RateLimitError, "budget_exceeded", lambda: ask(as_who(broke, retries=5)))
    assert error.type == "insufficient_quota", error.type
    raises(openai.PermissionDeniedError, "model_not_allowed", lambda: ask(as_who(bound)))
    raises(openai.NotFoundError, "model_not_found", lambda: ask(client, model="nobody-knows-this"))
    raises(openai.UnprocessableEntityError, "unpriced_model", lambda: ask(client, model="unpriced"))
    error = raises(openai.BadRequestError, "invalid_type", lambda: ask(client, messages=[{"role": "user", "content": 7}]))
    assert error.param == "messages[0].content", error.param
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    asked = [{"role": "user", "content": secret}]
    raises(openai.BadRequestError, "content_policy_violation", lambda: ask(client, messages=asked))
    # An error is an error in a stream as well.
    raises(openai.BadRequestError, "content_policy_violation", lambda: ask(client, messages=asked, stream=True))


def retries():
    # The provider fails once; the SDK tries again by itself and is answered.
    patient = openai.OpenAI(base_url=base_url, api_key=key, max_retries=3, timeout=60)
    assert patient.chat.completions.create(model=model, messages=hello, max_tokens=20).choices[0].message.content


{"talk": talk, "tools": tools, "errors": errors, "retries": retries}[part]()
print("fine")
