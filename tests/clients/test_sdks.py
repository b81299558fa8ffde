"""The clients that people use, in front of two providers that nobody here wrote. Each asks twice: a miss, then a hit."""

import asyncio
import json
import os
import pathlib
import subprocess

import anthropic
import httpx2
import openai
import pytest

QUESTION = "What is the capital of France?"
WEATHER = "What is the weather in Paris?"
ANSWER = "The capital of France is Paris."
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
CHAT_TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Weather of a city.", "parameters": SCHEMA}}]
RESPONSES_TOOLS = [{"type": "function", "name": "get_weather", "description": "Weather of a city.", "parameters": SCHEMA, "strict": True}]
ANTHROPIC_TOOLS = [{"name": "get_weather", "description": "Weather of a city.", "input_schema": SCHEMA}]
APIS = ["chat", "responses"]
# `claude-test` is served by a provider of Anthropic's kind, everything else by one of OpenAI's.
MODELS = ["gpt-test", "claude-test"]


def tells(answer, first):
    """Whether `answer` tells all that `first` does. A hit may add what a mock leaves out though the API demands it."""
    if isinstance(first, dict) and isinstance(answer, dict):
        # Items of an answer have ids that no later request refers to.
        told = {name: value for name, value in first.items() if value not in (None, [], {}) and (name != "id" or first.get("object") == "response")}
        return all(tells(answer.get(name), value) for name, value in told.items())
    if isinstance(first, (list, tuple)) and isinstance(answer, (list, tuple)):
        return len(first) == len(answer) and all(map(tells, answer, first))
    return answer == first


class Front:
    """Refrain in front of a mock, and a cache that only one test uses."""

    def __init__(self, server, mock, cache):
        self.url, self.mock, self.cache = server.url, mock, cache
        self.headers = {"x-refrain-cache": cache}
        self.statuses = []

    def http(self):
        return httpx2.Client(timeout=20, event_hooks={"response": [self._record]})

    def async_http(self):
        async def record(response):
            self._record(response)

        return httpx2.AsyncClient(timeout=20, event_hooks={"response": [record]})

    def _record(self, response):
        self.statuses.append(response.headers.get("x-cache-status"))

    def openai(self):
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="unused", max_retries=0, default_headers=self.headers, http_client=self.http())

    def async_openai(self):
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="unused", max_retries=0, default_headers=self.headers, http_client=self.async_http())

    def anthropic(self):
        return anthropic.Anthropic(base_url=self.url, api_key="unused", max_retries=0, default_headers=self.headers, http_client=self.http())

    def twice(self, ask, requests=1):
        """What `ask` returns: first from the mock, then the same from the cache. Each time it sends so many requests."""
        first = self.counted(ask, requests)
        assert self.statuses == ["Miss"] * requests + ["Hit"] * requests
        return first

    def counted(self, ask, requests=1):
        """As `twice`, for clients that don't show headers."""
        before = self.mock.calls()
        first = ask()
        assert self.mock.calls() == before + requests
        second = ask()
        assert self.mock.calls() == before + requests, "the second time was no hit"
        assert tells(second, first), f"{second} instead of {first}"
        return first

    def check_answer(self, text):
        assert text == ANSWER if self.is_aimock() else text.strip(), text

    def check_arguments(self, arguments):
        assert arguments == {"city": "Paris" if self.is_aimock() else "mock-city"}

    def is_aimock(self):
        return "Aimock" in type(self.mock).__name__


SETTINGS = """
[router]
default_provider = "openai"
[providers.openai]
base_url = "{url}/v1"
api_key = "k"
[providers.anthropic]
kind = "anthropic"
base_url = "{url}{anthropic}/v1"
api_key = "k"
[models.claude-test]
targets = [{{ provider = "anthropic", model = "claude-test" }}]
"""


@pytest.fixture(scope="session")
def fronted(start_refrain):
    """Starts one server for each mock."""
    servers = {}

    def start(mock, anthropic):
        if mock not in servers:
            servers[mock] = start_refrain(SETTINGS.format(url=mock.url, anthropic=anthropic))
        return servers[mock]

    return start


@pytest.fixture(params=["aimock", "llmock"])
def front(request, fronted, names):
    mock = request.getfixturevalue(request.param)
    return Front(fronted(mock, "/anthropic" if request.param == "llmock" else ""), mock, names())


def user(text):
    return [{"role": "user", "content": text}]


# openai


@pytest.mark.parametrize("model", MODELS)
def test_openai_chat(front, model):
    client = front.openai()
    completion = front.twice(lambda: client.chat.completions.create(model=model, messages=user(QUESTION)).model_dump())
    front.check_answer(completion["choices"][0]["message"]["content"])


@pytest.mark.parametrize("model", MODELS)
def test_openai_chat_streamed(front, model):
    client = front.openai()

    def ask():
        options = {"stream_options": {"include_usage": True}}
        with client.chat.completions.stream(model=model, messages=user(QUESTION), **options) as stream:
            for _ in stream:
                pass
            final = stream.get_final_completion()
        return final.choices[0].message.content, final.choices[0].finish_reason, final.usage.total_tokens, final.id

    text, reason, *_ = front.twice(ask)
    front.check_answer(text)
    assert reason == "stop"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("delivery", ["whole", "streamed"])
def test_openai_chat_calls_a_tool(front, model, delivery):
    client = front.openai()
    options = {"model": model, "messages": user(WEATHER), "tools": CHAT_TOOLS}

    def ask():
        if delivery == "whole":
            message = client.chat.completions.create(**options).choices[0].message
        else:
            with client.chat.completions.stream(**options) as stream:
                message = stream.get_final_completion().choices[0].message
        (call,) = message.tool_calls
        return call.id, call.function.name, call.function.arguments

    _, name, arguments = front.twice(ask)
    assert name == "get_weather"
    front.check_arguments(json.loads(arguments))


def test_openai_chat_answers_as_json(front):
    """By the SDK's own reading of a strict schema."""
    from pydantic import BaseModel

    class Reply(BaseModel):
        answer: int

    client = front.openai()
    ask = lambda: client.chat.completions.parse(model="gpt-test", messages=user("Give me the answer as JSON"), response_format=Reply).choices[0].message.parsed
    assert isinstance(front.twice(ask).answer, int)


@pytest.mark.parametrize("model", MODELS)
def test_openai_responses(front, model):
    client = front.openai()
    response = front.twice(lambda: client.responses.create(model=model, input=QUESTION, instructions="Be brief.").model_dump())
    assert response["status"] == "completed" and response["usage"]["total_tokens"] > 0
    front.check_answer(response["output"][-1]["content"][0]["text"])


def streamed_response(front, client, **options):
    """A streamed response, put together by the SDK. Its events are in order; those of a hit are numbered, as the API's are."""
    with client.responses.stream(**options) as stream:
        events = list(stream)
        final = stream.get_final_response()
    types = [event.type for event in events]
    assert types[0] == "response.created" and types[-1] == "response.completed", types
    for index, item in enumerate(final.output):
        own = [event.type for event in events if getattr(event, "output_index", None) == index]
        assert own[0] == "response.output_item.added" and own[-1] == "response.output_item.done", own
        assert any("delta" in kind for kind in own), own
        assert item.status == "completed"
    if front.statuses[-1] == "Hit":  # aimock doesn't number its own
        numbers = [event.sequence_number for event in events]
        assert all(a < b for a, b in zip(numbers, numbers[1:])), numbers
    return final


@pytest.mark.parametrize("model", MODELS)
def test_openai_responses_streamed(front, model):
    client = front.openai()
    final = front.twice(lambda: streamed_response(front, client, model=model, input=QUESTION).model_dump())
    front.check_answer(final["output"][-1]["content"][0]["text"])
    assert final["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("delivery", ["whole", "streamed"])
def test_openai_responses_calls_a_tool(front, model, delivery):
    client = front.openai()
    options = {"model": model, "input": user(WEATHER), "tools": RESPONSES_TOOLS}

    def ask():
        response = client.responses.create(**options) if delivery == "whole" else streamed_response(front, client, **options)
        return response.model_dump()

    response = front.twice(ask)
    (call,) = [item for item in response["output"] if item["type"] == "function_call"]
    assert call["name"] == "get_weather" and call["call_id"]
    front.check_arguments(json.loads(call["arguments"]))
    # The next turn brings the call and its result along, without any state of the provider's.
    turn = [*user(WEATHER), {key: call[key] for key in ("type", "call_id", "name", "arguments")}]
    turn.append({"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"})
    front.statuses.clear()
    assert front.twice(lambda: client.responses.create(**{**options, "input": turn}).output_text)


@pytest.mark.parametrize("first", ["whole", "streamed"])
def test_openai_responses_whole_and_streamed_serve_each_other(front, first):
    client = front.openai()
    whole = lambda: client.responses.create(model="gpt-test", input=QUESTION)
    streamed = lambda: streamed_response(front, client, model="gpt-test", input=QUESTION)
    asked = (whole, streamed) if first == "whole" else (streamed, whole)
    miss, hit = [ask() for ask in asked]
    assert front.statuses == ["Miss", "Hit"]
    assert hit.id == miss.id and hit.output_text == miss.output_text
    assert tells([item.model_dump() for item in hit.output], [item.model_dump() for item in miss.output])
    assert hit.usage == miss.usage


@pytest.mark.parametrize("delivery", ["whole", "streamed"])
def test_openai_responses_are_served_by_meaning_too(front, delivery):
    client = front.openai()
    ask = lambda text: (client.responses.create if delivery == "whole" else lambda **options: streamed_response(front, client, **options))(model="gpt-test", input=text, store=False)
    first, again = ask(QUESTION), ask("What's the capital of France?")
    assert front.statuses == ["Miss", "Hit"] and again.output_text == first.output_text
    ask("What is the population of France, and what is the capital of France?")
    assert front.statuses[-1] == "Miss"


def test_openai_responses_answer_as_json(front):
    from pydantic import BaseModel

    class Reply(BaseModel):
        answer: int

    client = front.openai()
    ask = lambda: client.responses.parse(model="gpt-test", input="Give me the answer as JSON", text_format=Reply).output_parsed
    assert isinstance(front.twice(ask).answer, int)


def test_openai_responses_that_go_on_from_a_stored_one_ask_something_else(front):
    client = front.openai()
    first = client.responses.create(model="gpt-test", input=QUESTION)
    before = front.mock.calls()
    client.responses.create(model="gpt-test", input=QUESTION, previous_response_id=first.id)
    assert front.mock.calls() == before + 1


@pytest.mark.parametrize("api", APIS)
def test_openai_without_waiting(front, api):
    """The asynchronous client."""

    async def ask():
        async with front.async_openai() as client:
            if api == "chat":
                return (await client.chat.completions.create(model="gpt-test", messages=user(QUESTION))).choices[0].message.content
            async with client.responses.stream(model="gpt-test", input=QUESTION) as stream:
                async for _ in stream:
                    pass
                return (await stream.get_final_response()).output_text

    front.check_answer(front.twice(lambda: asyncio.run(ask())))


# openai-agents


@pytest.fixture
def agent(front):
    """Makes an agent with a tool; a whole run asks twice, for the call and for the answer."""
    import agents

    agents.set_tracing_disabled(True)

    @agents.function_tool
    def get_weather(city: str) -> str:
        """Weather of a city."""
        return f"sunny in {city}"

    kinds = {"chat": agents.OpenAIChatCompletionsModel, "responses": agents.OpenAIResponsesModel}

    def make(api, client):
        model = kinds[api](model="gpt-test", openai_client=client)
        return agents.Agent(name="Weather", instructions="Help with the weather.", tools=[get_weather], model=model)

    return make


@pytest.mark.parametrize("api", APIS)
def test_openai_agents(front, agent, api):
    import agents

    async def ask(text):
        async with front.async_openai() as client:
            return (await agents.Runner.run(agent(api, client), text)).final_output

    assert front.twice(lambda: asyncio.run(ask(WEATHER)), requests=2)


@pytest.mark.parametrize("api", APIS)
def test_openai_agents_streamed(front, agent, api):
    import agents

    async def ask(text):
        async with front.async_openai() as client:
            run = agents.Runner.run_streamed(agent(api, client), text)
            items = [event.item.type async for event in run.stream_events() if event.type == "run_item_stream_event"]
            return items, run.final_output

    items, output = front.twice(lambda: asyncio.run(ask(WEATHER)), requests=2)
    assert "tool_call_item" in items and "message_output_item" in items and output


# pydantic-ai


@pytest.fixture
def assistant():
    """Makes an agent of pydantic-ai with a tool."""
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    def make(api, client):
        model = {"chat": OpenAIChatModel, "responses": OpenAIResponsesModel}[api]("gpt-test", provider=OpenAIProvider(openai_client=client))
        agent = Agent(model, instructions="Help with the weather.")

        @agent.tool_plain
        def get_weather(city: str) -> str:
            """Weather of a city."""
            return f"sunny in {city}"

        return agent

    return make


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("delivery", ["whole", "streamed"])
def test_pydantic_ai(front, assistant, api, delivery):
    async def ask():
        async with front.async_openai() as client:
            agent = assistant(api, client)
            if delivery == "whole":
                return (await agent.run(WEATHER)).output
            async with agent.run_stream(WEATHER) as run:
                return await run.get_output()

    assert front.twice(lambda: asyncio.run(ask()), requests=2)


# litellm


@pytest.fixture
def litellm(front, monkeypatch):
    # It asks for a list of prices on the web otherwise.
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    return litellm


LITELLM = {"openai": "openai/gpt-test", "anthropic": "anthropic/claude-test"}


def litellm_options(front, kind):
    base = f"{front.url}/v1" if kind == "openai" else front.url
    return {"model": LITELLM[kind], "api_base": base, "api_key": "unused", "max_retries": 0, "extra_headers": front.headers}


@pytest.mark.parametrize("kind", LITELLM)
def test_litellm(front, litellm, kind):
    ask = lambda: litellm.completion(messages=user(QUESTION), **litellm_options(front, kind)).choices[0].message.content
    front.check_answer(front.counted(ask))


@pytest.mark.parametrize("kind", LITELLM)
def test_litellm_streamed(front, litellm, kind):
    def ask():
        chunks = list(litellm.completion(messages=user(QUESTION), stream=True, **litellm_options(front, kind)))
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks), chunks[-1].choices[0].finish_reason

    text, reason = front.counted(ask)
    front.check_answer(text)
    assert reason == "stop"


@pytest.mark.parametrize("kind", LITELLM)
@pytest.mark.parametrize("delivery", ["whole", "streamed"])
def test_litellm_calls_a_tool(front, litellm, kind, delivery):
    def ask():
        reply = litellm.completion(messages=user(WEATHER), tools=CHAT_TOOLS, stream=delivery == "streamed", **litellm_options(front, kind))
        if delivery == "streamed":
            reply = litellm.stream_chunk_builder(list(reply))
        (call,) = reply.choices[0].message.tool_calls
        return call.id, call.function.name, json.loads(call.function.arguments)

    _, name, arguments = front.counted(ask)
    assert name == "get_weather"
    front.check_arguments(arguments)


@pytest.mark.parametrize("delivery", ["whole", "streamed"])
def test_litellm_responses(front, litellm, delivery):
    def ask():
        reply = litellm.responses(input=QUESTION, stream=delivery == "streamed", **litellm_options(front, "openai"))
        if delivery == "streamed":
            events = list(reply)
            reply = events[-1].response
            assert events[-1].type == "response.completed"
        return reply.output[-1].content[0].text

    front.check_answer(front.counted(ask))


def test_litellm_embeds_here(front, litellm):
    """Without a provider; it sends `"encoding_format": null`."""
    options = {**litellm_options(front, "openai"), "model": "openai/all-MiniLM-L6-v2"}
    before = front.mock.calls()
    reply = litellm.embedding(input=["one text", "another"], **options)
    assert [len(item["embedding"]) for item in reply.data] == [384, 384] and front.mock.calls() == before


# langchain


@pytest.fixture
def chat_model(front):
    from langchain_openai import ChatOpenAI

    def make(api):
        return ChatOpenAI(
            model="gpt-test", base_url=f"{front.url}/v1", api_key="unused", max_retries=0, use_responses_api=api == "responses",
            default_headers=front.headers, http_client=front.http(), http_async_client=front.async_http(),
        )

    return make


@pytest.mark.parametrize("api", APIS)
def test_langchain(front, chat_model, api):
    model = chat_model(api)
    front.check_answer(front.twice(lambda: model.invoke(QUESTION).text))


@pytest.mark.parametrize("api", APIS)
def test_langchain_streamed(front, chat_model, api):
    model = chat_model(api)
    front.check_answer(front.twice(lambda: "".join(chunk.text for chunk in model.stream(QUESTION))))


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("delivery", ["whole", "streamed"])
def test_langchain_calls_a_tool(front, chat_model, api, delivery):
    model = chat_model(api).bind_tools(CHAT_TOOLS)

    def ask():
        if delivery == "whole":
            return model.invoke(WEATHER).tool_calls
        chunks = list(model.stream(WEATHER))
        return sum(chunks[1:], chunks[0]).tool_calls

    (call,) = front.twice(ask)
    assert call["name"] == "get_weather" and call["id"]
    front.check_arguments(call["args"])


@pytest.mark.parametrize("api", APIS)
def test_langchain_agents(front, chat_model, api):
    from langchain.agents import create_agent

    def get_weather(city: str) -> str:
        """Weather of a city."""
        return f"sunny in {city}"

    agent = create_agent(chat_model(api), [get_weather], system_prompt="Help with the weather.")
    assert front.twice(lambda: agent.invoke({"messages": user(WEATHER)})["messages"][-1].text, requests=2)


# langchain-redis: a cache of LangChain's own, kept here; its model asks the mock itself.


@pytest.fixture
def remembering(front):
    """Makes a chat model that asks LangCache first."""
    from langchain_openai import ChatOpenAI
    from langchain_redis import LangCacheSemanticCache

    cache = LangCacheSemanticCache(server_url=front.url, cache_id=front.cache, api_key="unused", ttl=3600)
    return lambda **options: ChatOpenAI(**{"model": "gpt-test", "base_url": f"{front.mock.url}/v1", "api_key": "unused", "max_retries": 0, "cache": cache, **options})


def test_langchain_redis(front, remembering):
    model = remembering()
    message = front.counted(lambda: model.invoke(QUESTION).text)
    front.check_answer(message)


def test_langchain_redis_without_waiting(front, remembering):
    model = remembering()
    # One event loop for both: the cache's client belongs to the first that it is used in.
    with asyncio.Runner() as runner:
        ask = lambda: runner.run(model.ainvoke(QUESTION)).text
        front.check_answer(front.counted(ask))


def test_langchain_redis_finds_by_meaning(front, remembering):
    """The prompt that it sends is the JSON of messages; what is compared are the words that are said in it."""
    model = remembering()
    conversation = lambda text: [("system", "You are a helpful assistant of a travel agency. Be brief."), ("human", text)]
    first = model.invoke(conversation(QUESTION))
    before = front.mock.calls()
    again = model.invoke(conversation("What's the capital of France?"))
    assert again.text == first.text and front.mock.calls() == before
    other = [("system", "You are a pirate."), ("human", QUESTION)]
    for asked in (conversation("What is the population of Italy?"), other):
        before = front.mock.calls()
        model.invoke(asked)
        assert front.mock.calls() == before + 1, asked


def test_langchain_redis_keeps_models_and_tools_apart(front, remembering):
    """By the attribute `llm_string`, which tells all of a model's settings and is thousands of characters long with tools."""
    plain, warm = remembering(), remembering(temperature=0.9)
    tools = [{**CHAT_TOOLS[0], "function": {**CHAT_TOOLS[0]["function"], "description": "Weather of a city. " * 100}}]
    bound = plain.bind_tools(tools)
    for model in (plain, warm, bound):
        front.counted(lambda: model.invoke(WEATHER).model_dump(include={"content", "tool_calls"}))
    assert bound.invoke(WEATHER).tool_calls[0]["name"] == "get_weather"


# anthropic


@pytest.mark.parametrize("model", MODELS)
def test_anthropic(front, model):
    client = front.anthropic()

    def ask():
        message = client.messages.create(model=model, max_tokens=100, messages=user(QUESTION))
        return message.content[-1].text, message.stop_reason, message.usage.input_tokens, message.usage.output_tokens, message.id

    text, reason, *_ = front.twice(ask)
    front.check_answer(text)
    assert reason == "end_turn"


@pytest.mark.parametrize("model", MODELS)
def test_anthropic_streamed(front, model):
    client = front.anthropic()

    def ask():
        with client.messages.stream(model=model, max_tokens=100, messages=user(QUESTION)) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        assert final.content[-1].text == text
        return text, final.stop_reason, final.usage.output_tokens, final.id

    text, reason, *_ = front.twice(ask)
    front.check_answer(text)
    assert reason == "end_turn"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("delivery", ["whole", "streamed"])
def test_anthropic_calls_a_tool(front, model, delivery):
    client = front.anthropic()
    options = {"model": model, "max_tokens": 100, "messages": user(WEATHER), "tools": ANTHROPIC_TOOLS}

    def ask():
        if delivery == "whole":
            message = client.messages.create(**options)
        else:
            with client.messages.stream(**options) as stream:
                message = stream.get_final_message()
        (call,) = [block for block in message.content if block.type == "tool_use"]
        return message.stop_reason, call.id, call.name, call.input

    reason, _, name, arguments = front.twice(ask)
    assert (reason, name) == ("tool_use", "get_weather")
    front.check_arguments(arguments)


# Node


SCRIPT = pathlib.Path(__file__).parent / "sdk_clients.mjs"


def run_node(*arguments):
    modules = os.environ.get("REFRAIN_NODE_MODULES", str(SCRIPT.parent / "node_modules"))
    run = subprocess.run([os.environ.get("REFRAIN_NODE", "node"), SCRIPT, modules, *arguments], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


NODE_CASES = {
    "openai": ["chat", "chatStream", "chatTool", "responses", "responsesStream", "responsesTool", "responsesToolStream"],
    "agents": ["chat", "chatStream", "responses", "responsesStream"],
    "ai": ["text", "stream", "object", "tool", "toolStream", "toolWithoutStore", "turns"],
    "langchain": ["chat", "chatStream", "chatTool", "responses", "responsesStream", "responsesTool", "agent"],
    "anthropic": ["message", "stream", "tool"],
}


# Those that call a tool, run it, and ask again with its result.
LOOPS = {("ai", "tool"), ("ai", "toolStream"), ("ai", "toolWithoutStore"), ("langchain", "agent")}


@pytest.mark.parametrize("client, case", [(client, case) for client, cases in NODE_CASES.items() for case in cases])
def test_node(front, client, case):
    before = front.mock.calls()
    told = run_node("ask", client, case, front.url, front.cache)
    first, second = told
    assert tells(second["answer"], first["answer"])
    requests = len(first["statuses"])
    if case == "turns":
        # The second turn refers to the first one's answer by the id under which the provider keeps it.
        assert first["statuses"][0] == "Miss" and second["statuses"][0] == "Hit" and requests == 2
        return
    is_loop = client == "agents" or (client, case) in LOOPS
    assert requests == (2 if is_loop else 1)
    assert (first["statuses"], second["statuses"]) == (["Miss"] * requests, ["Hit"] * requests)
    assert front.mock.calls() == before + requests
    answer = first["answer"]
    if "arguments" in answer:
        assert answer["name"] == "get_weather"
        front.check_arguments(answer["arguments"])
    elif is_loop or case == "object":
        assert answer["text"]
    else:
        front.check_answer(answer["text"])


def test_node_langcache(front):
    """What the SDK checks of replies and errors is in the script; here is what it saw."""
    told = run_node("langcache", front.url, front.cache)
    assert told["miss"] == [] and told["entryId"]
    [exact], [near] = told["exact"], told["near"]
    assert (exact["id"], exact["response"], exact["searchStrategy"], exact["similarity"]) == (told["entryId"], "Click on it.", "exact", 1)
    assert near["id"] == told["entryId"] and near["searchStrategy"] == "semantic" and 0.95 < near["similarity"] < 1
    assert near["attributes"] == {"shop": "1"} and told["elsewhere"] == []
    assert told["deleted"] == 1 and told["afterwards"] == [] and told["flushed"] == []
    # Each error is of the SDK's own class, which it is only where its `type` is one that was published.
    assert told["errors"] == {
        "empty": ["BadRequestErrorResponseContent", "/errors/invalid-data"],
        "threshold": ["BadRequestErrorResponseContent", "/errors/invalid-data"],
        "gone": ["NotFoundErrorResponseContent", "/errors/cache/entry/not-found"],
        "large": ["PayloadTooLargeErrorResponseContent", "/errors/payload-too-large"],
    }


def test_node_langcache_is_told_what_it_may_not(start_refrain):
    keyed = start_refrain('[server]\ncreate_caches = false\n[caches.known]\n[tenants.a]\napi_keys = ["key-a"]\n')
    told = run_node("langcacheErrors", keyed.url, "key-a")
    assert told == {
        "key": ["AuthenticationErrorResponseContent", "/errors/authentication-failed"],
        "cache": ["NotFoundErrorResponseContent", "/errors/cache/not-found"],
    }
