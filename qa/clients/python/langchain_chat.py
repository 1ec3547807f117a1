"""LangChain's OpenAI classes against Alfred.

    langchain_chat.py BASE_URL KEY MODEL [noise]

With `noise` the model says anything: only that it says something is looked at.
"""

import asyncio
import sys

import openai
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

base_url, key, model, *noise = sys.argv[1:]
chat = ChatOpenAI(base_url=base_url, api_key=key, model=model, max_retries=0, timeout=60, max_tokens=200)


@tool
def weather(city: str) -> str:
    """The weather of a city"""
    return "sunny"


class Weather(BaseModel):
    """The weather of a city"""

    city: str
    celsius: int


def talk():
    answer = chat.invoke([SystemMessage("Be brief."), HumanMessage("Say hello")])
    assert answer.content == "Hello there, traveller!", answer
    assert answer.usage_metadata["input_tokens"] == 10, answer.usage_metadata


def stream():
    pieces = list(chat.stream("Hello in parts", stream_usage=True))
    said = "".join(piece.content for piece in pieces)
    assert said.startswith("Hello in parts to you as well"), said
    assert any(piece.usage_metadata for piece in pieces), pieces


def tools():
    bound = chat.bind_tools([weather])
    asked = HumanMessage("What is the weather?")
    answer = bound.invoke([asked])
    call = answer.tool_calls[0]
    assert (call["name"], call["args"]) == ("weather", {"city": "Paris"}), call
    result = ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"])
    assert bound.invoke([asked, answer, result]).content == "It is sunny in Paris."


def structured():
    answer = chat.with_structured_output(Weather, method="json_schema").invoke("The weather as an object")
    assert answer == Weather(city="Paris", celsius=21), answer


def embeddings():
    # Its own counting of tokens wants a file from the network.
    embed = OpenAIEmbeddings(base_url=base_url, api_key=key, model="openai/e", check_embedding_ctx_length=False)
    vectors = embed.embed_documents(["one", "two"])
    assert len(vectors) == 2 and vectors[0] == embed.embed_query("one"), "not the vectors"


async def at_once():
    answers = await chat.abatch(["Say hello"] * 8)
    assert all(answer.content == "Hello there, traveller!" for answer in answers)


def refused():
    try:
        ChatOpenAI(base_url=base_url, api_key="sk-alf-nobody", model=model, max_retries=0).invoke("Say hello")
    except openai.AuthenticationError as error:
        assert error.code == "invalid_api_key", error
    else:
        raise AssertionError("a stranger is answered")


def anything():
    short = ChatOpenAI(base_url=base_url, api_key=key, model=model, max_retries=0, max_tokens=16, temperature=0)
    answer = short.invoke("Say hello")
    assert answer.content and answer.usage_metadata["output_tokens"] > 0, answer
    assert "".join(piece.content for piece in short.stream("Say hello")) == answer.content


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
