// Goes through LangCache's JavaScript SDK: what it stores, finds and deletes, and how it reads errors. Prints what it saw as JSON.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [url, cacheId, missingUrl, keyedUrl, modules] = process.argv.slice(2);
const require = createRequire(`${modules}/of-the-tests.js`);
const load = async (name) => import(pathToFileURL(require.resolve(name)));
const { LangCache } = await load("@redis-ai/langcache");
const open = (serverURL, id = cacheId) => new LangCache({ serverURL, cacheId: id, apiKey: "wrong" });
const seen = {};

const cache = open(url);
const attributes = { llm_string: "x".repeat(4100) };
const { entryId } = await cache.set({ prompt: "How do I reset my password?", response: "Like so.", attributes });
const { data } = await cache.search({ prompt: "How can I reset my password?", attributes });
seen.found = data.map(({ id, response, searchStrategy }) => ({ id, response, searchStrategy }));
seen.deleted = (await cache.deleteQuery({ attributes })).deletedEntriesCount;

// An error whose type the SDK doesn't know is a ResponseValidationError, or the default one.
const error = async (call) => {
  try {
    await call();
  } catch (error) {
    return [error.name, error.data$?.type, error.data$?.status];
  }
};
seen.errors = {
  invalid: await error(() => cache.set({ prompt: "", response: "x" })),
  entry: await error(() => cache.deleteById(entryId)),
  cache: await error(() => open(missingUrl, "unknown").search({ prompt: "x" })),
  key: await error(() => open(keyedUrl).search({ prompt: "x" })),
  size: await error(() => cache.set({ prompt: "x".repeat(5_000_000), response: "y" })),
};
console.log(JSON.stringify(seen));
