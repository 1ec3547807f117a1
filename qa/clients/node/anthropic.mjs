// Anthropic's own Node SDK against Alfred.
//
//     node anthropic.mjs BASE_URL KEY MODEL [noise]
//
// ALFRED_NODE names the folder whose node_modules holds the packages, outside of the repository. With `noise` the model says
// anything: only that it says something is looked at.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const { Anthropic } = createRequire(`${process.env.ALFRED_NODE}/package.json`)("@anthropic-ai/sdk");
const [baseURL, apiKey, model, noise] = process.argv.slice(2);
const client = new Anthropic({ baseURL, apiKey, maxRetries: 0, timeout: 60_000 });
const user = (content) => [{ role: "user", content }];
const tools = [
  {
    name: "weather",
    description: "The weather of a city",
    input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
];

async function anything() {
  const short = { model, max_tokens: 16, temperature: 0, messages: user("Say hello") };
  const answer = await client.messages.create(short);
  assert.ok(answer.content[0].text && answer.usage.output_tokens > 0, JSON.stringify(answer));
  const final = await client.messages.stream(short).finalMessage();
  assert.equal(final.content[0].text, answer.content[0].text);
}

async function everything() {
  const answer = await client.messages.create({ model, max_tokens: 100, system: "Be brief.", messages: user("Say hello") });
  assert.equal(answer.content[0].text, "Hello there, traveller!");
  assert.deepEqual([answer.usage.input_tokens, answer.usage.output_tokens], [10, 5]);

  const final = await client.messages.stream({ model, max_tokens: 100, messages: user("Hello in parts") }).finalMessage();
  assert.ok(final.content[0].text.startsWith("Hello in parts to you as well"), JSON.stringify(final));
  assert.equal(final.stop_reason, "end_turn");

  const asked = user("What is the weather?");
  const call = await client.messages.create({ model, max_tokens: 100, tools, messages: asked });
  const use = call.content.find((block) => block.type === "tool_use");
  assert.deepEqual([use.name, use.input, call.stop_reason], ["weather", { city: "Paris" }, "tool_use"]);
  const result = user([{ type: "tool_result", tool_use_id: use.id, content: "sunny" }]);
  const history = [...asked, { role: "assistant", content: call.content }, ...result];
  const after = await client.messages.create({ model, max_tokens: 100, tools, messages: history });
  assert.equal(after.content[0].text, "It is sunny in Paris.");
}

await (noise ? anything() : everything());

const counted = await client.messages.countTokens({ model, messages: user("Say hello") });
assert.ok(counted.input_tokens >= 2, JSON.stringify(counted));

const stranger = new Anthropic({ baseURL, apiKey: "sk-alf-nobody", maxRetries: 0 });
await assert.rejects(stranger.messages.create({ model, max_tokens: 100, messages: user("Say hello") }), (error) => {
  assert.equal(error.status, 401, String(error));
  return true;
});
console.log("fine");
