// OpenAI's own Node SDK against Alfred.
//
//     node openai.mjs BASE_URL KEY MODEL talk|tools|errors|retries [MORE]
//
// ALFRED_NODE names the folder whose node_modules holds the SDK, outside of the repository.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const OpenAI = createRequire(`${process.env.ALFRED_NODE}/package.json`)("openai");
const [baseURL, apiKey, model, part, ...more] = process.argv.slice(2);
const as = (apiKey, maxRetries = 0) => new OpenAI({ baseURL, apiKey, maxRetries, timeout: 60_000 });
const client = as(apiKey);
const messages = [{ role: "user", content: "Say hello" }];
const tools = [
  {
    type: "function",
    function: {
      name: "weather",
      description: "The weather of a city",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];

async function talk() {
  const body = { model, messages, max_tokens: 20, temperature: 0 };
  const answer = await client.chat.completions.create(body);
  assert.ok(answer.choices[0].message.content);
  assert.ok(answer.usage.completion_tokens > 0);
  const { response } = await client.chat.completions.create(body).withResponse();
  assert.match(response.headers.get("x-request-id"), /^req_/);
  let said = "";
  let usage;
  const stream = await client.chat.completions.create({ ...body, stream: true, stream_options: { include_usage: true } });
  for await (const chunk of stream) {
    said += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(said, answer.choices[0].message.content);
  assert.ok(usage.completion_tokens > 0 && usage.alfred_cost_usd);
  const ids = [];
  for await (const listed of client.models.list()) ids.push(listed.id);
  assert.ok(ids.includes(model));
}

async function callTools() {
  const answer = await client.chat.completions.create({ model, messages, tools, max_tokens: 50 });
  const call = answer.choices[0].message.tool_calls[0];
  assert.equal(answer.choices[0].finish_reason, "tool_calls");
  assert.equal(call.function.name, "weather");
  assert.ok("city" in JSON.parse(call.function.arguments));
  let args = "";
  for await (const chunk of await client.chat.completions.create({ model, messages, tools, max_tokens: 50, stream: true })) {
    for (const delta of chunk.choices[0]?.delta?.tool_calls ?? []) args += delta.function?.arguments ?? "";
  }
  assert.ok("city" in JSON.parse(args));
}

async function raises(kind, code, ask) {
  await assert.rejects(ask, (error) => {
    assert.equal(error.constructor, kind, String(error));
    assert.equal(error.code, code);
    assert.match(error.requestID, /^req_/);
    return true;
  });
}

async function errors() {
  const [limited, broke, bound] = more;
  const ask = (who, changes = {}) => who.chat.completions.create({ model, messages, max_tokens: 20, ...changes });
  await raises(OpenAI.AuthenticationError, "invalid_api_key", () => ask(as("sk-alf-nobody")));
  await ask(as(limited));
  await raises(OpenAI.RateLimitError, "rate_limit_exceeded", () => ask(as(limited)));
  await raises(OpenAI.RateLimitError, "budget_exceeded", () => ask(as(broke, 5)));
  await raises(OpenAI.PermissionDeniedError, "model_not_allowed", () => ask(as(bound)));
  await raises(OpenAI.NotFoundError, "model_not_found", () => ask(client, { model: "nobody-knows-this" }));
  await raises(OpenAI.BadRequestError, "invalid_type", () => ask(client, { messages: [{ role: "user", content: 7 }] }));
}

async function retries() {
  const answer = await as(apiKey, 3).chat.completions.create({ model, messages, max_tokens: 20 });
  assert.ok(answer.choices[0].message.content);
}

await { talk, tools: callTools, errors, retries }[part]();
console.log("fine");
