"""Anthropic's own Python SDK against Alfred's /v1/messages, whoever answers behind it.

    anthropic_sync.py ROOT_URL KEY MODEL talk|tools|errors [MORE]
"""

import sys

import anthropic

root_url, key, model, part, *more = sys.argv[1:]
client = anthropic.Anthropic(base_url=root_url, api_key=key, max_retries=0, timeout=60)
hello = [{"role": "user", "content": "Say hello"}]
cold = {"temperature": 0}  # this SDK's newest models take none, others do
look = {
    "name": "weather",
    "description": "The weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def talk():
    answer = client.messages.create(model=model, max_tokens=20, system="Be kind", messages=hello, extra_body=cold)
    assert answer.content[0].text and answer.role == "assistant", answer
    assert answer.usage.output_tokens > 0 and answer.stop_reason in ("end_turn", "max_tokens"), answer
    with client.messages.stream(model=model, max_tokens=20, system="Be kind", messages=hello, extra_body=cold) as stream:
        said = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert said == answer.content[0].text == final.content[0].text, (said, answer)
    assert final.usage.output_tokens > 0 and final.stop_reason == answer.stop_reason, final


def tools():
    answer = client.messages.create(model=model, max_tokens=50, messages=hello, tools=[look])
    call = next(block for block in answer.content if block.type == "tool_use")
    assert answer.stop_reason == "tool_use" and call.name == "weather" and "city" in call.input, answer
    history = hello + [
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in answer.content]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]},
    ]
    after = client.messages.create(model=model, max_tokens=50, messages=history, tools=[look])
    assert after.content[0].text, after
    with client.messages.stream(model=model, max_tokens=50, messages=hello, tools=[look]) as stream:
        final = stream.get_final_message()
    call = next(block for block in final.content if block.type == "tool_use")
    assert call.name == "weather" and "city" in call.input, final


def raises(kind, ask):
    try:
        ask()
    except anthropic.APIStatusError as error:
        assert type(error) is kind, (type(error), error)
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def errors():
    limited, broke = more
    ask = lambda key, **changes: anthropic.Anthropic(
        base_url=root_url, api_key=key, max_retries=5 if key == broke else 0, timeout=60
    ).messages.create(**{"model": model, "max_tokens": 20, "messages": hello, **changes})
    raises(anthropic.AuthenticationError, lambda: ask("sk-alf-nobody"))
    ask(limited)
    raises(anthropic.RateLimitError, lambda: ask(limited))
    raises(anthropic.RateLimitError, lambda: ask(broke))
    raises(anthropic.NotFoundError, lambda: ask(key, model="nobody-knows-this"))
    raises(anthropic.BadRequestError, lambda: ask(key, messages=[{"role": "user", "content": 7}]))


{"talk": talk, "tools": tools, "errors": errors}[part]()
print("fine")
