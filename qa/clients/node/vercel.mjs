// Vercel's AI SDK against Alfred.
//
//     node vercel.mjs BASE_URL KEY MODEL [noise]
//
// ALFRED_NODE names the folder whose node_modules holds the packages, outside of the repository. With `noise` the model says
// anything: only that it says something is looked at.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.ALFRED_NODE}/package.json`);
const { createOpenAICompatible } = require("@ai-sdk/openai-compatible");
const { generateText, streamText, generateObject, embedMany, tool, stepCountIs, APICallError } = require("ai");
const { z } = require("zod");
const [baseURL, apiKey, name, noise] = process.argv.slice(2);
const provider = (apiKey) =>
  createOpenAICompatible({ name: "alfred", baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true });
const as = (apiKey) => provider(apiKey)(name);
const model = as(apiKey);
const common = { model, maxRetries: 0, maxOutputTokens: 200 };
const weather = tool({
  description: "The weather of a city",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => {
    assert.equal(city, "Paris");
    return "sunny";
  },
});

async function anything() {
  const short = { model, maxRetries: 0, maxOutputTokens: 16, temperature: 0, prompt: "Say hello" };
  const answer = await generateText(short);
  assert.ok(answer.text && answer.usage.outputTokens > 0);
  let said = "";
  for await (const piece of streamText(short).textStream) said += piece;
  assert.equal(said, answer.text);
}

async function everything() {
  const answer = await generateText({ ...common, system: "Be brief.", prompt: "Say hello" });
  assert.equal(answer.text, "Hello there, traveller!");
  assert.deepEqual([answer.usage.inputTokens, answer.usage.outputTokens], [10, 5]);

  const stream = streamText({ ...common, prompt: "Hello in parts" });
  let said = "";
  for await (const piece of stream.textStream) said += piece;
  assert.ok(said.startsWith("Hello in parts to you as well"), said);
  assert.equal((await stream.usage).inputTokens, 10);

  // It calls the tool, sends the result, and reads the answer: two calls of the model.
  const agent = await generateText({
    ...common,
    prompt: "What is the weather?",
    tools: { weather },
    stopWhen: stepCountIs(3),
  });
  assert.equal(agent.text, "It is sunny in Paris.");
  assert.equal(agent.steps.length, 2);

  const schema = z.object({ city: z.string(), celsius: z.number().int() });
  const { object } = await generateObject({ ...common, prompt: "The weather as an object", schema });
  assert.deepEqual(object, { city: "Paris", celsius: 21 });

  const { embeddings } = await embedMany({ model: provider(apiKey).textEmbeddingModel("openai/e"), values: ["one", "two"] });
  assert.ok(embeddings.length === 2 && embeddings[0].length > 100);
}

await (noise ? anything() : everything());

await assert.rejects(generateText({ ...common, model: as("sk-alf-nobody"), prompt: "Say hello" }), (error) => {
  assert.ok(APICallError.isInstance(error), String(error));
  return error.statusCode === 401;
});
console.log("fine");
