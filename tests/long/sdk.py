"""The official Python SDKs, unmodified, against the Gatehouse whose address is the first argument."""

import sys

import anthropic
import openai

url = sys.argv[1]
QUESTION = [{"role": "user", "content": "Where are the keys kept?"}]

client = openai.OpenAI(base_url=f"{url}/v1", api_key="visitor", max_retries=0)
assert "site" in [model.id for model in client.models.list()]

whole = client.chat.completions.create(model="site", messages=QUESTION)
assert "secret" in whole.choices[0].message.content.lower(), whole
assert whole.choices[0].finish_reason == "stop"
assert whole._request_id.startswith("req_")

parts = client.chat.completions.create(
    model="site", messages=QUESTION, stream=True, stream_options={"include_usage": True}
)
text, usage = "", None
for chunk in parts:
    if chunk.choices:
        text += chunk.choices[0].delta.content or ""
    usage = chunk.usage or usage
assert text == whole.choices[0].message.content
assert usage is not None and usage.completion_tokens > 0

try:
    openai.OpenAI(base_url=f"{url}/v1", api_key="sk-unknown", max_retries=0).models.list()
    raise AssertionError("an unknown key was accepted")
except openai.AuthenticationError as error:
    assert error.code == "invalid_api_key" and error.request_id.startswith("req_")

try:
    client.chat.completions.create(model="nobody", messages=QUESTION)
    raise AssertionError("an unknown model was accepted")
except openai.NotFoundError as error:
    assert error.code == "model_not_found" and error.param == "model"

claude = anthropic.Anthropic(base_url=url, api_key="visitor", max_retries=0)
message = claude.messages.create(model="site", max_tokens=500, messages=QUESTION)
assert "secret" in message.content[0].text.lower() and message.stop_reason == "end_turn"

with claude.messages.stream(model="site", max_tokens=500, messages=QUESTION) as stream:
    streamed = "".join(stream.text_stream)
assert streamed == message.content[0].text

try:
    anthropic.Anthropic(base_url=url, api_key="sk-ant-unknown", max_retries=0).models.list()
    raise AssertionError("an unknown key was accepted")
except anthropic.AuthenticationError as error:
    assert error.body["error"]["type"] == "authentication_error"

# Its helper cuts a file into parts and sends them; the client keeps the cookie of the visitor that it became.
content = "".join(f"line {n} of a long file\n" for n in range(700_000)).encode()
upload = client.uploads.upload_file_chunked(
    file=content, filename="long.txt", bytes=len(content), mime_type="text/plain", purpose="user_data", part_size=6_000_000
)
assert upload.status == "completed" and upload.file.bytes == len(content), upload
assert client.files.content(upload.file.id).content == content

print("python SDKs: ok")
