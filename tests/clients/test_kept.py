"""Responses that providers keep, reached where they were made, through openai's client."""

import contextlib

import openai
import pytest
from front_door import RESPONSE, Provider

MADE_HERE, MADE_THERE, BY_NOBODY = "resp_here", "resp_there", "resp_gone"


class Keeper(Provider):
    """Keeps the responses with these ids, and knows no other one."""

    def __init__(self, *kept):
        super().__init__()
        self.kept = kept

    def usual(self, path, body):
        name = path.split("?")[0].removeprefix("/v1/responses/").split("/")[0]
        if name not in self.kept:
            return 404, "application/json", {"error": {"message": f"no {name}", "type": "invalid_request_error", "code": None, "param": None}}
        if path.split("?")[0].endswith("/input_items"):
            return 200, "application/json", {"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None}
        return 200, "application/json", {**RESPONSE, "id": name}


@pytest.fixture(scope="module")
def keepers():
    here, there = Keeper(MADE_HERE), Keeper(MADE_THERE)
    yield here, there
    here.server.shutdown(), there.server.shutdown()


@pytest.fixture(scope="module")
def server(start_refrain, keepers):
    here, there = keepers
    return start_refrain(f"""
[router]
default_provider = "here"
[providers.without]
kind = "anthropic"
base_url = "{there.url}/v1"
api_key = "k"
[providers.there]
base_url = "{there.url}/v1"
[providers.here]
base_url = "{here.url}/v1"
""")


@pytest.fixture
def client(server, keepers):
    for keeper in keepers:
        keeper.seen.clear(), keeper.replies.clear()
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


CALLS = {
    "get": lambda responses, name, **more: responses.retrieve(name, **more),
    "delete": lambda responses, name, **more: responses.delete(name, **more),
    "cancel": lambda responses, name, **more: responses.cancel(name, **more),
    "items": lambda responses, name, **more: responses.input_items.list(name, **more),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_response_is_reached_where_it_was_made(client, keepers, call):
    here, there = keepers
    CALLS[call](client.responses, MADE_HERE)
    assert len(here.seen) == 1 and not there.seen
    CALLS[call](client.responses, MADE_THERE)
    assert len(here.seen) == 2 and len(there.seen) == 1
    method, path = there.seen[0].method, there.seen[0].path
    assert (method, path) == (here.seen[1].method, here.seen[1].path) and "anthropic-version" not in there.seen[0].headers


@pytest.mark.parametrize("call", CALLS)
def test_one_that_nobody_made_is_not_found(client, keepers, call):
    with pytest.raises(openai.NotFoundError, match="no resp_gone"):
        CALLS[call](client.responses, BY_NOBODY)
    assert [len(keeper.seen) for keeper in keepers] == [1, 1]


def test_a_named_provider_is_asked_alone(client, keepers):
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(MADE_HERE, extra_headers={"x-refrain-provider": "there"})
    assert [len(keeper.seen) for keeper in keepers] == [0, 1]


@pytest.mark.parametrize("status, error", [(500, openai.InternalServerError), (429, openai.RateLimitError)])
def test_nobody_knows_while_one_cannot_say(client, keepers, status, error):
    here, _ = keepers
    here.replies.append((status, "application/json", {"error": {"message": "later"}}))
    with pytest.raises(error):
        client.responses.retrieve(BY_NOBODY)
    # Another one that has it says so all the same.
    here.replies.append((status, "application/json", {"error": {"message": "later"}}))
    assert client.responses.retrieve(MADE_THERE).id == MADE_THERE


def test_one_that_is_read_as_a_stream_is_handed_on_as_it_comes(client, keepers):
    _, there = keepers
    there.replies.append((200, "text/event-stream", b'event: response.completed\ndata: {"type":"response.completed","sequence_number":9,"response":{}}\n\n'))
    with contextlib.closing(client.responses.retrieve(MADE_THERE, stream=True)) as events:
        assert [event.sequence_number for event in events] == [9]
