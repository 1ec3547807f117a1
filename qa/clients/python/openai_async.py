"""The asynchronous client of OpenAI's SDK: many at once, streams among them.

    openai_async.py BASE_URL KEY MODEL
"""

import asyncio
import sys

import openai

base_url, key, model = sys.argv[1:]
hello = [{"role": "user", "content": "Say hello"}]


async def whole(client):
    answer = await client.chat.completions.create(model=model, messages=hello, max_tokens=20, temperature=0)
    return answer.choices[0].message.content


async def streamed(client):
    said = ""
    async for chunk in await client.chat.completions.create(
        model=model, messages=hello, max_tokens=20, temperature=0, stream=True
    ):
        for choice in chunk.choices:
            said += choice.delta.content or ""
    return said


async def main():
    async with openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=60) as client:
        answers = await asyncio.gather(*[(whole if i % 2 else streamed)(client) for i in range(20)])
        assert len(set(answers)) == 1 and answers[0], set(answers)
        try:
            await client.with_options(api_key="sk-alf-nobody").chat.completions.create(model=model, messages=hello)
        except openai.AuthenticationError:
            return
        raise AssertionError("AuthenticationError was not raised")


asyncio.run(main())
print("fine")
