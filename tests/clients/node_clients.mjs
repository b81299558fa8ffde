// Asks one question through Node's clients, whole and streamed, and prints their answers as JSON.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [url, cache, modules] = process.argv.slice(2);
const require = createRequire(`${modules}/of-the-tests.js`);
const load = async (name) => import(pathToFileURL(require.resolve(name)));
const question = "What is the capital of France?";
const headers = { "x-refrain-cache": cache };
const answers = {};

const { default: OpenAI } = await load("openai");
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: "unused", maxRetries: 0, defaultHeaders: headers });
const messages = [{ role: "user", content: question }];
answers.openai = (await openai.chat.completions.create({ model: "anthropic", messages })).choices[0].message.content;
answers.openaiStream = "";
for await (const chunk of await openai.chat.completions.create({ model: "gemini", messages, stream: true })) {
  answers.openaiStream += chunk.choices[0]?.delta.content ?? "";
}

const { default: Anthropic } = await load("@anthropic-ai/sdk");
const anthropic = new Anthropic({ baseURL: url, apiKey: "unused", maxRetries: 0, defaultHeaders: headers });
answers.anthropic = (await anthropic.messages.create({ model: "openai", max_tokens: 50, messages })).content[0].text;
answers.anthropicStream = await anthropic.messages.stream({ model: "anthropic", max_tokens: 50, messages }).finalText();

const { generateText, streamText } = await load("ai");
const { createOpenAICompatible } = await load("@ai-sdk/openai-compatible");
const provider = createOpenAICompatible({ name: "refrain", baseURL: `${url}/v1`, apiKey: "unused", headers });
answers.ai = (await generateText({ model: provider("vertex"), prompt: question, maxRetries: 0 })).text;
answers.aiStream = await streamText({ model: provider("azure"), prompt: question, maxRetries: 0 }).text;

console.log(JSON.stringify(answers));
