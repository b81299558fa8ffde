// Asks through Node's clients, each question twice, and prints as JSON what was answered and what the headers said.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [modules, command, ...rest] = process.argv.slice(2);
const require = createRequire(`${modules}/of-the-tests.js`);
const load = async (name) => import(pathToFileURL(require.resolve(name)));

const question = "What is the capital of France?";
const weather = "What is the weather in Paris?";
const description = "Weather of a city.";
const parameters = {
  type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false,
};
const forecast = async ({ city }) => `sunny in ${city}`;
const user = (content) => [{ role: "user", content }];

// What `x-cache-status` said to each request.
let statuses = [];
const recording = async (...request) => {
  const response = await fetch(...request);
  statuses.push(response.headers.get("x-cache-status"));
  return response;
};

const clients = {
  async openai({ url, headers }) {
    const { default: OpenAI } = await load("openai");
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "unused", maxRetries: 0, defaultHeaders: headers, fetch: recording });
    const model = "gpt-test";
    const chat = { model, messages: user(question) };
    const tools = [{ type: "function", function: { name: "get_weather", description, parameters } }];
    const flat = [{ type: "function", name: "get_weather", description, parameters, strict: true }];
    const ofCall = (response) => {
      const call = response.output.find((item) => item.type === "function_call");
      return { id: call.call_id, name: call.name, arguments: JSON.parse(call.arguments) };
    };
    const streamed = async (options) => {
      const stream = client.responses.stream(options);
      let last = -1;
      for await (const event of stream) {
        // aimock doesn't number its own.
        if (statuses.at(-1) === "Hit" && !(event.sequence_number > last)) throw new Error(`event ${event.sequence_number} after ${last}`);
        last = event.sequence_number;
      }
      return stream.finalResponse();
    };
    return {
      chat: async () => ({ text: (await client.chat.completions.create(chat)).choices[0].message.content }),
      chatStream: async () => ({ text: await client.chat.completions.stream(chat).finalContent() }),
      chatTool: async () => {
        const completion = await client.chat.completions.stream({ model, messages: user(weather), tools }).finalChatCompletion();
        const [call] = completion.choices[0].message.tool_calls;
        return { id: call.id, name: call.function.name, arguments: JSON.parse(call.function.arguments) };
      },
      responses: async () => {
        const response = await client.responses.create({ model, input: question });
        return { text: response.output_text, response };
      },
      responsesStream: async () => {
        const response = await streamed({ model, input: question });
        return { text: response.output_text, response };
      },
      responsesTool: async () => ofCall(await client.responses.create({ model, input: user(weather), tools: flat })),
      responsesToolStream: async () => ofCall(await streamed({ model, input: user(weather), tools: flat })),
    };
  },

  async agents({ url, headers }) {
    const { default: OpenAI } = await load("openai");
    const agents = await load("@openai/agents");
    agents.setTracingDisabled(true);
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "unused", maxRetries: 0, defaultHeaders: headers, fetch: recording });
    const tool = agents.tool({ name: "get_weather", description, parameters, execute: forecast });
    const agent = (model) => new agents.Agent({ name: "Weather", instructions: "Help with the weather.", tools: [tool], model });
    const run = async (model) => ({ text: (await agents.run(agent(model), weather)).finalOutput });
    const stream = async (model) => {
      const result = await agents.run(agent(model), weather, { stream: true });
      for await (const _ of result);
      await result.completed;
      return { text: result.finalOutput };
    };
    const chat = () => new agents.OpenAIChatCompletionsModel(client, "gpt-test");
    const responses = () => new agents.OpenAIResponsesModel(client, "gpt-test");
    return {
      chat: () => run(chat()),
      chatStream: () => stream(chat()),
      responses: () => run(responses()),
      responsesStream: () => stream(responses()),
    };
  },

  async ai({ url, headers }) {
    const { generateText, streamText, tool, jsonSchema, isStepCount, stepCountIs, Output } = await load("ai");
    const { createOpenAI } = await load("@ai-sdk/openai");
    const provider = createOpenAI({ baseURL: `${url}/v1`, apiKey: "unused", headers, fetch: recording });
    // What the provider calls without an API's name: Responses.
    const model = provider("gpt-test");
    const tools = { get_weather: tool({ description, inputSchema: jsonSchema(parameters), execute: forecast }) };
    const stateless = { providerOptions: { openai: { store: false } } };
    const loop = { model, prompt: weather, tools, maxRetries: 0, stopWhen: (isStepCount ?? stepCountIs)(3) };
    const answer = jsonSchema({ type: "object", properties: { answer: { type: "integer" } }, required: ["answer"], additionalProperties: false });
    return {
      text: async () => ({ text: (await generateText({ model, prompt: question, maxRetries: 0 })).text }),
      stream: async () => ({ text: await streamText({ model, prompt: question, maxRetries: 0 }).text }),
      object: async () => {
        const output = Output.object({ schema: answer });
        const result = await generateText({ model, prompt: "Give me the answer as JSON", maxRetries: 0, output });
        if (!Number.isInteger(result.output.answer)) throw new Error(result.text);
        return { text: result.text };
      },
      tool: async () => ({ text: (await generateText(loop)).text }),
      toolStream: async () => ({ text: await streamText(loop).text }),
      toolWithoutStore: async () => ({ text: (await generateText({ ...loop, ...stateless })).text }),
      turns: async () => {
        const first = await generateText({ model, messages: user(question), maxRetries: 0 });
        const messages = [...user(question), ...first.response.messages, ...user("Thanks!")];
        return { text: (await generateText({ model, messages, maxRetries: 0 })).text };
      },
    };
  },

  async langchain({ url, headers }) {
    const { ChatOpenAI } = await load("@langchain/openai");
    const configuration = { baseURL: `${url}/v1`, defaultHeaders: headers, fetch: recording };
    const model = (useResponsesApi) => new ChatOpenAI({ model: "gpt-test", apiKey: "unused", maxRetries: 0, useResponsesApi, configuration });
    const tools = [{ type: "function", function: { name: "get_weather", description, parameters } }];
    const stream = async (model, text) => {
      let whole;
      for await (const chunk of await model.stream(text)) whole = whole === undefined ? chunk : whole.concat(chunk);
      return whole;
    };
    const ofCall = ({ tool_calls: [call] }) => ({ id: call.id, name: call.name, arguments: call.args });
    const agent = async (api) => {
      const { createAgent, tool } = await load("langchain");
      const zod = await load("zod");
      const getWeather = tool(forecast, { name: "get_weather", description, schema: zod.z.object({ city: zod.z.string() }) });
      const made = createAgent({ model: model(api), tools: [getWeather], systemPrompt: "Help with the weather." });
      const { messages } = await made.invoke({ messages: user(weather) });
      return { text: messages.at(-1).text };
    };
    return {
      chat: async () => ({ text: (await model(false).invoke(question)).text }),
      chatStream: async () => ({ text: (await stream(model(false), question)).text }),
      chatTool: async () => ofCall(await stream(model(false).bindTools(tools), weather)),
      responses: async () => ({ text: (await model(true).invoke(question)).text }),
      responsesStream: async () => ({ text: (await stream(model(true), question)).text }),
      responsesTool: async () => ofCall(await stream(model(true).bindTools(tools), weather)),
      agent: () => agent(true),
    };
  },

  async anthropic({ url, headers }) {
    const { default: Anthropic } = await load("@anthropic-ai/sdk");
    const client = new Anthropic({ baseURL: url, apiKey: "unused", maxRetries: 0, defaultHeaders: headers, fetch: recording });
    const options = { model: "claude-test", max_tokens: 100, messages: user(question) };
    const tools = [{ name: "get_weather", description, input_schema: parameters }];
    return {
      message: async () => {
        const message = await client.messages.create(options);
        return { text: message.content.at(-1).text, id: message.id, reason: message.stop_reason };
      },
      stream: async () => ({ text: await client.messages.stream(options).finalText() }),
      tool: async () => {
        const message = await client.messages.stream({ ...options, messages: user(weather), tools }).finalMessage();
        const call = message.content.find((block) => block.type === "tool_use");
        return { id: call.id, name: call.name, arguments: call.input };
      },
    };
  },
};

const errorOf = async (call) => {
  try {
    await call();
  } catch (error) {
    return [error.name, error.type ?? error.message];
  }
  return ["no error", ""];
};

const commands = {
  async ask(client, name, url, cache) {
    const cases = await clients[client]({ url, headers: { "x-refrain-cache": cache } });
    const told = [];
    for (let n = 0; n < 2; n++) {
      statuses = [];
      told.push({ answer: await cases[name](), statuses });
    }
    return told;
  },

  async langcache(url, cacheId) {
    const { LangCache } = await load("@redis-ai/langcache");
    const cache = new LangCache({ serverURL: url, cacheId, apiKey: "unused" });
    const prompt = "How do I reset my password?";
    const told = {};
    told.miss = (await cache.search({ prompt })).data;
    told.entryId = (await cache.set({ prompt, response: "Click on it.", attributes: { shop: "1" }, ttlMillis: 60_000 })).entryId;
    told.exact = (await cache.search({ prompt, searchStrategies: ["exact"] })).data;
    told.near = (await cache.search({ prompt: "How can I reset my password?", similarityThreshold: 0.9, attributes: { shop: "1" } })).data;
    told.elsewhere = (await cache.search({ prompt, attributes: { shop: "2" } })).data;
    told.deleted = (await cache.deleteQuery({ attributes: { shop: "1" } })).deletedEntriesCount;
    told.afterwards = (await cache.search({ prompt })).data;
    const again = (await cache.set({ prompt, response: "Click on it." })).entryId;
    await cache.deleteById(again);
    await cache.set({ prompt, response: "Click on it." });
    await cache.flush();
    told.flushed = (await cache.search({ prompt })).data;
    told.errors = {
      empty: await errorOf(() => cache.set({ prompt: "", response: "x" })),
      threshold: await errorOf(() => cache.search({ prompt, similarityThreshold: 1.5 })),
      gone: await errorOf(() => cache.deleteById(again)),
      large: await errorOf(() => cache.set({ prompt: "x".repeat(10_000_000), response: "y" })),
    };
    return told;
  },

  async langcacheErrors(url, key) {
    const { LangCache } = await load("@redis-ai/langcache");
    const search = (cacheId, apiKey) => errorOf(() => new LangCache({ serverURL: url, cacheId, apiKey }).search({ prompt: "a" }));
    return { key: await search("known", "wrong"), cache: await search("unknown", key) };
  },
};

console.log(JSON.stringify(await commands[command](...rest)));
