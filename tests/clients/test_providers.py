"""Providers that are known by name, and the identities that their clouds give machines, with fake issuers of credentials."""

import concurrent.futures
import datetime
import http.server
import json
import os
import subprocess
import threading
import time
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from conftest import BINARY, ROOT, ask_stream, text_of

QUESTION = "What is the capital of France?"
OPENAI = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Paris."}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
CONVERSE = {"output": {"message": {"role": "assistant", "content": [{"text": "Paris."}]}}, "stopReason": "end_turn", "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}}
GEMINI = {"candidates": [{"content": {"role": "model", "parts": [{"text": "Paris."}]}, "finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}}
STREAM = b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"Paris."},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}\n\ndata: [DONE]\n\n'


class Fake:
    """Answers by path, with what a test says; it remembers all requests."""

    def __init__(self, answer, port=0):
        self.asked = asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                asked.append(Asked(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                status, reply = answer(asked[-1])
                kind = "text/event-stream" if reply is STREAM else "application/json"
                data = reply if isinstance(reply, bytes) else reply.encode() if isinstance(reply, str) else json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(data)))
                # The metadata service of AWS says so of its tokens.
                self.send_header("x-aws-ec2-metadata-token-ttl-seconds", "21600")
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = answer

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Asked:
    def __init__(self, method, path, headers, body):
        self.method, self.path, self.headers, self.body = method, path, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def form(self):
        return dict(urllib.parse.parse_qsl(self.body.decode()))

    @property
    def query(self):
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))


@pytest.fixture
def fake():
    """Starts fakes, which end with the test."""
    running = []

    def start(answer, port=0):
        running.append(Fake(answer, port))
        return running[-1]

    yield start
    for each in running:
        each.server.shutdown()
        each.server.server_close()


@pytest.fixture
def provider(fake):
    """Speaks OpenAI's API, Amazon's and Google's."""

    def answer(asked):
        if "/converse" in asked.path:
            return 200, CONVERSE
        if ":generateContent" in asked.path:
            return 200, GEMINI
        return 200, STREAM if asked.json.get("stream") else OPENAI

    return fake(answer)


def chat(server, model="p/m", headers=None, text=QUESTION):
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    return server.http.post("/v1/chat/completions", json=body, headers={"Cache-Control": "no-store, no-cache", **(headers or {})})


def answers(server, model="p/m"):
    reply = chat(server, model)
    assert reply.status_code == 200 and reply.json()["choices"][0]["message"]["content"] == "Paris.", (reply.text, server.logs[-5:])


def in_(seconds):
    return (datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def until(found, seconds=20):
    """Waits for something that happens in the background."""
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline, "it hasn't happened"
        time.sleep(0.05)


# Known by name.


def test_what_a_provider_is_known_to_refuse_does_not_reach_it(start_refrain, provider):
    server = start_refrain(f'[providers.p]\nkind = "mistral"\nbase_url = "{provider.url}/v1"\napi_key = "k"\n')
    client = server.openai(default_headers={"Cache-Control": "no-store"})
    chunks, _ = ask_stream(client, QUESTION, model="mistral-small", seed=7, max_completion_tokens=50, store=False, user="u", stream_options={"include_usage": True})
    assert text_of(chunks) == "Paris." and chunks[-1].usage.total_tokens == 2, "it says what it used without being asked"
    sent = provider.asked[-1]
    assert sent.headers["authorization"] == "Bearer k" and sent.path == "/v1/chat/completions"
    assert sent.json == {"messages": [{"role": "user", "content": QUESTION}], "model": "mistral-small", "stream": True, "random_seed": 7, "max_tokens": 50}


def test_a_message_in_anthropics_shape_is_adjusted_too(start_refrain, provider):
    server = start_refrain(f'[providers.p]\nkind = "mistral"\nbase_url = "{provider.url}/v1"\napi_key = "k"\n')
    body = {"model": "m", "max_tokens": 5, "stream": True, "metadata": {"user_id": "u"}, "messages": [{"role": "user", "content": QUESTION}]}
    reply = server.http.post("/v1/messages", json=body, headers={"Cache-Control": "no-store"})
    assert reply.status_code == 200 and "Paris." in reply.text
    assert not {"stream_options", "user", "store", "seed", "max_completion_tokens"} & set(provider.asked[-1].json)


def test_one_without_responses_is_asked_for_a_chat_at_once(start_refrain, provider):
    server = start_refrain(f'[providers.p]\nkind = "mistral"\nbase_url = "{provider.url}/v1"\napi_key = "k"\n')
    reply = server.openai().responses.create(model="m", input=QUESTION, max_output_tokens=9, extra_headers={"Cache-Control": "no-store"})
    assert reply.output_text == "Paris." and [sent.path for sent in provider.asked] == ["/v1/chat/completions"]
    assert provider.asked[0].json["max_tokens"] == 9 and "max_completion_tokens" not in provider.asked[0].json


def test_a_local_server_needs_no_address_and_no_key(start_refrain, fake):
    # On LM Studio's port, which no other test uses.
    local = fake(lambda _: (200, OPENAI), port=1234)
    server = start_refrain('[providers.p]\nkind = "lm-studio"\n')
    answers(server)
    assert local.asked[-1].path == "/v1/chat/completions"


def refrain_check(settings, tmp_path, **environment):
    file = tmp_path / "refrain.toml"
    file.write_text(settings)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("REFRAIN_", "OPENAI_", "AWS_", "AZURE_", "GOOGLE_"))}
    return subprocess.run([BINARY, "check", "--config", file], cwd=ROOT, env={**clean, **environment}, capture_output=True, text=True)


def test_check_says_who_and_where_providers_are(tmp_path):
    kinds = {
        "mistral": "", "cloudflare": 'account_id = "a1"', "ollama": "", "groq": 'api_key = "secret-key"', "bedrock": "",
        "azure": 'resource = "r1"\ntenant_id = "t"\nclient_id = "c"\nclient_secret = "secret-key"', "xai": "",
    }
    settings = "".join(f'[providers.{kind}]\nkind = "{kind}"\n{more}\n' for kind, more in kinds.items())
    checked = refrain_check(settings, tmp_path, MISTRAL_API_KEY="secret-key", CLOUDFLARE_API_TOKEN="secret-key", AWS_REGION="eu-central-1")
    assert checked.returncode == 0, checked.stderr
    said = {line.split()[0]: line for line in checked.stdout.splitlines()}
    assert said["mistral"].endswith("Mistral AI at https://api.mistral.ai/v1; key from MISTRAL_API_KEY")
    assert "accounts/a1/ai/v1; key from CLOUDFLARE_API_TOKEN" in said["cloudflare"]
    assert "http://127.0.0.1:11434/v1; no key" in said["ollama"] and said["groq"].endswith("key from the settings")
    assert "bedrock-runtime.eu-central-1" in said["bedrock"] and "AWS's chain" in said["bedrock"]
    assert said["azure"].endswith("https://r1.openai.azure.com/openai; tokens of the application's secret")
    assert "no key of ours" in said["xai"] and "secret-key" not in checked.stdout + checked.stderr


def test_names_that_nobody_knows_are_answered_with_the_nearest(tmp_path):
    for settings, said in [
        ('kind = "mistrl"', "unknown kind `mistrl`; did you mean `mistral`?"),
        ('kind = "acme"', "use `openai` for an API like OpenAI's"),
        ('kind = "cloudflare"', "CLOUDFLARE_ACCOUNT_ID"),
        ('kind = "mistral"\ncredentials = "identity"', "only azure, vertex and bedrock"),
        ('kind = "llama-cpp"', "this is where Refrain itself listens"),
        ('kind = "vertex"\nbase_url = "http://x"\nservice_account = "/no/such/file"', "no credentials for provider `p`"),
    ]:
        checked = refrain_check(f"[providers.p]\n{settings}\n", tmp_path)
        assert checked.returncode == 1 and said in checked.stderr, (settings, checked.stderr)
    checked = refrain_check("[providers.mistral]\napi_key = \"k\"\n", tmp_path)
    assert checked.returncode == 1 and 'or kind = "mistral"' in checked.stderr


# Azure.


def azure(provider, more=""):
    return f'[providers.p]\nkind = "azure"\nbase_url = "{provider.url}"\n{more}\n'


APPLICATION = 'tenant_id = "t"\nclient_id = "c"\nclient_secret = "s3cret"'


def token(number=1, **more):
    return {"token_type": "Bearer", "expires_in": 3599, "access_token": f"entra-{number}", **more}


def test_an_application_calls_azure_with_one_token_for_all(start_refrain, provider, fake):
    entra = fake(lambda _: (200, token()))
    server = start_refrain(azure(provider, APPLICATION), {"AZURE_AUTHORITY_HOST": entra.url})
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(lambda _: chat(server), range(20)))
    assert {reply.status_code for reply in replies} == {200}
    (asked,) = entra.asked
    assert asked.path == "/t/oauth2/v2.0/token" and asked.form == {
        "grant_type": "client_credentials", "client_id": "c", "client_secret": "s3cret", "scope": "https://cognitiveservices.azure.com/.default"}
    assert {sent.headers["authorization"] for sent in provider.asked} == {"Bearer entra-1"}
    assert not any("api-key" in sent.headers for sent in provider.asked)
    assert "entra-1" not in "".join(server.logs) and "s3cret" not in "".join(server.logs)


def test_a_pod_calls_azure_with_the_token_in_its_file(start_refrain, provider, fake, tmp_path):
    entra = fake(lambda asked: (200, token(len(entra.asked), expires_in=4)))
    file = tmp_path / "token"
    file.write_text("projected-1\n")
    environment = {"AZURE_AUTHORITY_HOST": entra.url + "/", "AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_FEDERATED_TOKEN_FILE": str(file)}
    server = start_refrain(azure(provider, 'credentials = "identity"'), environment)
    answers(server)
    assert entra.asked[0].form["client_assertion"] == "projected-1"
    assert entra.asked[0].form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    # Kubernetes replaces it, and the token that it was good for is replaced before it ends.
    file.write_text("projected-2\n")

    def replaced():
        answers(server)
        return provider.asked[-1].headers["authorization"] != "Bearer entra-1"

    until(replaced)
    assert entra.asked[1].form["client_assertion"] == "projected-2"


def test_a_machine_and_an_app_call_azure_with_their_own_identity(start_refrain, provider, fake):
    imds = fake(lambda _: (200, token(expires_in="86399")))
    server = start_refrain(azure(provider, 'credentials = "identity"\nclient_id = "c"'), {"AZURE_POD_IDENTITY_AUTHORITY_HOST": imds.url})
    answers(server)
    assert imds.asked[0].path.startswith("/metadata/identity/oauth2/token?") and imds.asked[0].headers["metadata"] == "true"
    assert imds.asked[0].query == {"api-version": "2018-02-01", "resource": "https://cognitiveservices.azure.com", "client_id": "c"}
    app = fake(lambda _: (200, {"access_token": "app-1", "expires_on": str(int(time.time()) + 3600), "resource": "x"}))
    server = start_refrain(azure(provider, 'credentials = "identity"'), {"IDENTITY_ENDPOINT": f"{app.url}/token", "IDENTITY_HEADER": "h"})
    answers(server)
    assert app.asked[0].headers["x-identity-header"] == "h" and app.asked[0].query["api-version"] == "2019-08-01"
    assert provider.asked[-1].headers["authorization"] == "Bearer app-1"


def test_a_refused_application_hands_over_and_its_secrets_are_not_told(start_refrain, provider, fake):
    refusal = {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided.\r\nTrace ID: 1"}
    entra = fake(lambda _: (401, refusal))
    settings = azure(provider, APPLICATION) + f"""
[providers.good]
base_url = "{provider.url}/v1"
[models.both]
targets = [{{ provider = "p", model = "x" }}, {{ provider = "good", model = "y" }}]
"""
    server = start_refrain(settings, {"AZURE_AUTHORITY_HOST": entra.url})
    reply = chat(server, "both")
    assert reply.status_code == 200 and reply.headers["x-refrain-tried"] == "p=no-credentials", reply.headers
    reply = chat(server)
    assert reply.status_code == 502 and reply.json()["error"]["code"] == "no_credentials"
    assert reply.json()["error"]["message"] == "no credentials for provider `p`: whoever issues them refused"
    assert len(entra.asked) == 1, "who refused isn't asked again at once"
    until(lambda: any("AADSTS7000215: Invalid client secret provided." in line for line in server.logs))
    assert "s3cret" not in "".join(server.logs)
    # Nothing listens there.
    server = start_refrain(azure(provider, APPLICATION), {"AZURE_AUTHORITY_HOST": "http://127.0.0.1:9"})
    assert chat(server).json()["error"]["message"] == "no credentials for provider `p`: whoever issues them can't be reached"


def test_it_recovers_when_the_issuer_does(start_refrain, provider, fake):
    entra = fake(lambda _: (503, "") if len(entra.asked) < 2 else (200, token()))
    server = start_refrain("[router]\nfailures = 100\n" + azure(provider, APPLICATION), {"AZURE_AUTHORITY_HOST": entra.url})
    assert chat(server).status_code == 502
    until(lambda: chat(server).status_code == 200)
    assert len(entra.asked) == 2


# AWS.


def bedrock(provider, more='credentials = "identity"'):
    return f'[providers.p]\nkind = "bedrock"\nbase_url = "{provider.url}"\nregion = "eu-central-1"\n{more}\n'


NOWHERE = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere"}


def keys(number, seconds=3600, **more):
    return {"AccessKeyId": f"ASIA{number}", "SecretAccessKey": f"s3cret-{number}", "Token": f"session-{number}", "Expiration": in_(seconds), **more}


def is_signed(sent, number):
    """As Amazon's own library signs it."""
    headers = sent.headers
    credentials = botocore.credentials.Credentials(f"ASIA{number}", f"s3cret-{number}", f"session-{number}")
    signer = botocore.auth.SigV4Auth(credentials, "bedrock", "eu-central-1")
    request = botocore.awsrequest.AWSRequest("POST", f"http://{headers['host']}{sent.path}", {"content-type": headers["content-type"], "host": headers["host"]}, sent.body)
    request.context["timestamp"] = headers["x-amz-date"]
    request.headers["x-amz-date"], request.headers["x-amz-security-token"] = headers["x-amz-date"], headers["x-amz-security-token"]
    signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    return f"Credential=ASIA{number}/" in headers["authorization"] and f"Signature={signature}" in headers["authorization"]


def test_variables_of_the_environment_sign_for_bedrock(start_refrain, provider):
    environment = {"AWS_ACCESS_KEY_ID": "ASIA1", "AWS_SECRET_ACCESS_KEY": "s3cret-1", "AWS_SESSION_TOKEN": "session-1", **NOWHERE}
    server = start_refrain(bedrock(provider), environment)
    answers(server)
    assert is_signed(provider.asked[-1], 1)


def test_a_profile_signs_for_bedrock(start_refrain, provider, tmp_path):
    file = tmp_path / "credentials"
    file.write_text("[work]\naws_access_key_id = ASIA2\naws_secret_access_key = s3cret-2\naws_session_token = session-2\n")
    server = start_refrain(bedrock(provider), {**NOWHERE, "AWS_SHARED_CREDENTIALS_FILE": str(file), "AWS_PROFILE": "work"})
    answers(server)
    assert is_signed(provider.asked[-1], 2)


def test_a_container_signs_with_its_role_which_is_replaced_in_time(start_refrain, provider, fake):
    ecs = fake(lambda _: (200, keys(len(ecs.asked), 4)))
    environment = {**NOWHERE, "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{ecs.url}/role", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "Basic x"}
    server = start_refrain(bedrock(provider), environment)
    answers(server)
    assert is_signed(provider.asked[-1], 1) and ecs.asked[0].headers["authorization"] == "Basic x"

    def replaced():
        answers(server)
        return not is_signed(provider.asked[-1], 1)

    until(replaced)
    assert is_signed(provider.asked[-1], 2)


def test_a_pod_signs_with_its_web_identity(start_refrain, provider, fake, tmp_path):
    def answer(asked):
        return 200, f"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>ASIA3</AccessKeyId><SecretAccessKey>s3cret-3</SecretAccessKey><SessionToken>session-3</SessionToken><Expiration>{in_(3600)}</Expiration></Credentials>
<AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn><AssumedRoleId>R:s</AssumedRoleId></AssumedRoleUser>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""

    sts = fake(answer)
    file = tmp_path / "token"
    file.write_text("projected")
    environment = {**NOWHERE, "AWS_WEB_IDENTITY_TOKEN_FILE": str(file), "AWS_ROLE_ARN": "arn:aws:iam::1:role/r", "AWS_ENDPOINT_URL_STS": sts.url}
    server = start_refrain(bedrock(provider), environment)
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        assert {reply.status_code for reply in pool.map(lambda _: chat(server), range(10))} == {200}
    (asked,) = sts.asked
    assert asked.form["Action"] == "AssumeRoleWithWebIdentity" and asked.form["WebIdentityToken"] == "projected"
    assert all(is_signed(sent, 3) for sent in provider.asked)
    assert "s3cret-3" not in "".join(server.logs)


def test_a_machine_signs_with_its_role(start_refrain, provider, fake):
    def answer(asked):
        if asked.path == "/latest/api/token":
            return 200, "imds-token"
        assert asked.headers["x-aws-ec2-metadata-token"] == "imds-token"
        if asked.path.rstrip("/").endswith(("security-credentials", "security-credentials-extended")):
            return (200, "role") if "extended" not in asked.path else (404, "")
        return (200, keys(4, Code="Success", Type="AWS-HMAC", LastUpdated=in_(0))) if asked.path.endswith("/role") else (404, "")

    imds = fake(answer)
    environment = {**NOWHERE, "AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.url}
    server = start_refrain(bedrock(provider), environment)
    answers(server)
    assert is_signed(provider.asked[-1], 4)


def test_nothing_that_the_chain_finds_is_said(start_refrain, provider):
    server = start_refrain(bedrock(provider), NOWHERE)
    reply = chat(server)
    assert reply.status_code == 502 and reply.json()["error"]["message"] == "no credentials for provider `p`: none were found"
    assert not provider.asked
    # Whoever prefers may have callers bring their own.
    server = start_refrain(bedrock(provider, 'credentials = "caller"'), NOWHERE)
    assert chat(server, headers={"authorization": "Bearer theirs"}).status_code == 200
    assert provider.asked[-1].headers["authorization"] == "Bearer theirs"


def test_a_service_of_amazons_that_cannot_be_reached_is_told_from_one_that_refuses(start_refrain, provider, fake, tmp_path):
    sts = fake(lambda _: (403, "<ErrorResponse><Error><Code>AccessDenied</Code><Message>Not authorized</Message></Error></ErrorResponse>"))
    file = tmp_path / "token"
    file.write_text("projected")
    for url, said in [(sts.url, "whoever issues them refused"), ("http://127.0.0.1:9", "whoever issues them can't be reached")]:
        environment = {**NOWHERE, "AWS_WEB_IDENTITY_TOKEN_FILE": str(file), "AWS_ROLE_ARN": "arn:aws:iam::1:role/r", "AWS_ENDPOINT_URL_STS": url}
        server = start_refrain(bedrock(provider), environment)
        reply = chat(server)
        assert reply.status_code == 502 and reply.json()["error"]["message"].endswith(said), (reply.text, server.logs[-3:])
    assert not provider.asked


# Google.


def vertex(provider, more='credentials = "identity"'):
    return f'[providers.p]\nkind = "vertex"\nbase_url = "{provider.url}/v1/projects/p/locations/l/publishers/google"\n{more}\n'


def test_a_machine_calls_vertex_with_the_token_of_its_metadata_server(start_refrain, provider, fake, tmp_path):
    metadata = fake(lambda asked: (200, {"access_token": f"metadata-{len(metadata.asked)}", "expires_in": 3599, "token_type": "Bearer"}))
    environment = {"GCE_METADATA_HOST": metadata.url.removeprefix("http://"), "HOME": str(tmp_path)}
    server = start_refrain(vertex(provider), environment)
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        assert {reply.status_code for reply in pool.map(lambda _: chat(server), range(10))} == {200}
    (asked,) = metadata.asked
    assert asked.path.startswith("/computeMetadata/v1/instance/service-accounts/default/token") and asked.headers["metadata-flavor"] == "Google"
    assert {sent.headers["authorization"] for sent in provider.asked} == {"Bearer metadata-1"}


def federation(sts, tmp_path):
    (tmp_path / "subject").write_text("projected")
    file = tmp_path / "federation.json"
    file.write_text(json.dumps({
        "type": "external_account", "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": f"{sts.url}/v1/token",
        "credential_source": {"file": str(tmp_path / "subject")},
    }))
    return file


@pytest.mark.parametrize("where", ["environment", "settings"])
def test_a_job_elsewhere_calls_vertex_by_federation(start_refrain, provider, fake, tmp_path, where):
    issued = {"access_token": "federated-1", "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer", "expires_in": 3600}
    sts = fake(lambda _: (200, issued))
    file = str(federation(sts, tmp_path))
    in_settings = where == "settings"
    server = start_refrain(vertex(provider, f'service_account = "{file}"') if in_settings else vertex(provider), {} if in_settings else {"GOOGLE_APPLICATION_CREDENTIALS": file})
    answers(server)
    assert sts.asked[0].form["subject_token"] == "projected" and sts.asked[0].path == "/v1/token"
    assert provider.asked[-1].headers["authorization"] == "Bearer federated-1"


def test_a_federation_that_was_refused_is_tried_again(start_refrain, provider, fake, tmp_path):
    issued = {"access_token": "federated-2", "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer", "expires_in": 3600}
    sts = fake(lambda _: (400, {"error": "invalid_grant", "error_description": "expired"}) if len(sts.asked) < 2 else (200, issued))
    server = start_refrain("[router]\nfailures = 100\n" + vertex(provider), {"GOOGLE_APPLICATION_CREDENTIALS": str(federation(sts, tmp_path))})
    reply = chat(server)
    assert reply.status_code == 502 and reply.json()["error"]["message"] == "no credentials for provider `p`: whoever issues them refused"
    until(lambda: chat(server).status_code == 200)
    assert provider.asked[-1].headers["authorization"] == "Bearer federated-2"


def test_a_change_of_the_settings_keeps_the_token(start_refrain, provider, fake):
    entra = fake(lambda _: (200, token()))
    server = start_refrain(azure(provider, APPLICATION), {"AZURE_AUTHORITY_HOST": entra.url})
    answers(server)
    server.settings.write_text(azure(provider, APPLICATION + "\nqueue = 7"))
    assert server.http.post("/v1/reload").status_code == 200
    answers(server)
    assert len(entra.asked) == 1
    server.settings.write_text(azure(provider, APPLICATION.replace("s3cret", "another")))
    assert server.http.post("/v1/reload").status_code == 200
    answers(server)
    assert len(entra.asked) == 2 and entra.asked[1].form["client_secret"] == "another"
