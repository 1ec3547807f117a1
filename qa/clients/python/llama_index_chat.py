"""LlamaIndex's OpenAI-like class against Alfred.

    llama_index_chat.py BASE_URL KEY MODEL [noise]

With `noise` the model says anything: only that it says something is looked at.
"""

import asyncio
import sys

import openai
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

base_url, key, model, *noise = sys.argv[1:]
settings = dict(
    api_base=base_url,
    model=model,
    is_chat_model=True,
    is_function_calling_model=True,
    context_window=8_000,
    max_tokens=200,
    max_retries=0,
    timeout=60,
)
llm = OpenAILike(api_key=key, **settings)
hello = [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content="Say hello")]


def weather(city: str) -> str:
    """The weather of a city"""
    return "sunny"


def talk():
    assert llm.chat(hello).message.content == "Hello there, traveller!"
    assert llm.complete("Say hello").text == "Hello there, traveller!"


def stream():
    said = "".join(piece.delta or "" for piece in llm.stream_chat([ChatMessage(role="user", content="Hello in parts")]))
    assert said.startswith("Hello in parts to you as well"), said


def tools():
    tool = FunctionTool.from_defaults(weather)
    answer = llm.chat_with_tools([tool], user_msg="What is the weather?")
    call = llm.get_tool_calls_from_response(answer)[0]
    assert (call.tool_name, call.tool_kwargs) == ("weather", {"city": "Paris"}), call
    history = [
        ChatMessage(role="user", content="What is the weather?"),
        answer.message,
        ChatMessage(role="tool", content="sunny", additional_kwargs={"tool_call_id": call.tool_id}),
    ]
    after = llm.chat_with_tools([tool], chat_history=history)
    assert after.message.content == "It is sunny in Paris.", after


async def at_once():
    answers = await asyncio.gather(*(llm.achat(hello) for _ in range(8)))
    assert all(answer.message.content == "Hello there, traveller!" for answer in answers)


def refused():
    try:
        OpenAILike(api_key="sk-alf-nobody", **settings).chat(hello)
    except openai.AuthenticationError as error:
        assert error.code == "invalid_api_key", error
    else:
        raise AssertionError("a stranger is answered")


def anything():
    short = OpenAILike(api_key=key, **{**settings, "max_tokens": 16, "temperature": 0})
    said = short.chat(hello).message.content
    assert said, "nothing"
    assert "".join(piece.delta or "" for piece in short.stream_chat(hello)) == said


if noise:
    anything()
else:
    talk()
    stream()
    tools()
    asyncio.run(at_once())
refused()
print("fine")
