"""The official Python SDKs, unmodified, over a provider of every dialect: streams, tools, structured output, errors.

Arguments: the address of the Gatehouse, and a file with what each provider's fixtures say.
"""

import json
import sys

import anthropic
import openai

url, fixtures = sys.argv[1], json.load(open(sys.argv[2], encoding="utf-8"))
QUESTION = fixtures["question"]
TURNS = [{"role": "user", "content": QUESTION}]
TOOL = fixtures["tool"]

client = openai.OpenAI(base_url=f"{url}/v1", api_key="visitor", max_retries=0)
claude = anthropic.Anthropic(base_url=url, api_key="visitor", max_retries=0)


def weather(city):
    return f"It is sunny in {city}."


def same(what, actual, expected):
    if actual != expected:
        raise AssertionError(f"{what}: {actual!r} is not {expected!r}")


def chat(provider, said):
    text = client.chat.completions.create(model=f"{provider}-text", messages=TURNS)
    same("chat", text.choices[0].message.content, said["text"]["text"])
    stream = client.chat.completions.create(
        model=f"{provider}-text", messages=TURNS, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    joined = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    same("chat stream", joined, said["text"]["text"])
    same("chat usage", chunks[-1].usage.completion_tokens, said["text"]["tokens"][1])
    tools = [{"type": "function", "function": TOOL}]
    with client.chat.completions.stream(model=f"{provider}-tools", messages=TURNS, tools=tools) as running:
        for _ in running:
            pass
        message = running.get_final_completion().choices[0].message
    calls = [[c.function.name, json.loads(c.function.arguments)] for c in message.tool_calls]
    same("chat tools", calls, said["tools"]["calls"])
    turns = [*TURNS, message.to_dict()]
    for call in message.tool_calls:
        city = json.loads(call.function.arguments)["city"]
        turns.append({"role": "tool", "tool_call_id": call.id, "content": weather(city)})
    answer = client.chat.completions.create(model=f"{provider}-tools", messages=turns, tools=tools)
    same("chat results", answer.choices[0].message.content, said["tool_results"]["text"])
    form = {"type": "json_schema", "json_schema": {"name": "weather", "schema": fixtures["schema"], "strict": True}}
    answer = client.chat.completions.create(model=f"{provider}-schema", messages=TURNS, response_format=form)
    same("chat schema", json.loads(answer.choices[0].message.content), fixtures["structured"])


def responses(provider, said):
    text = client.responses.create(model=f"{provider}-text", input=QUESTION)
    same("responses", text.output_text, said["text"]["text"])
    with client.responses.stream(model=f"{provider}-text", input=QUESTION) as running:
        events = list(running)
        final = running.get_final_response()
    same("responses stream", final.output_text, said["text"]["text"])
    joined = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    same("responses deltas", joined, said["text"]["text"])
    again = client.responses.retrieve(final.id, stream=True, starting_after=2)
    same("responses attached", [e.sequence_number for e in again][0], 3)
    tools = [{"type": "function", "strict": True, **TOOL}]
    with client.responses.stream(model=f"{provider}-tools", input=QUESTION, tools=tools) as running:
        for _ in running:
            pass
        first = running.get_final_response()
    calls = [item for item in first.output if item.type == "function_call"]
    same("responses tools", [[c.name, json.loads(c.arguments)] for c in calls], said["tools"]["calls"])
    results = [
        {"type": "function_call_output", "call_id": c.call_id, "output": weather(json.loads(c.arguments)["city"])}
        for c in calls
    ]
    answer = client.responses.create(
        model=f"{provider}-tools", input=results, previous_response_id=first.id, tools=tools
    )
    same("responses results", answer.output_text, said["tool_results"]["text"])


def messages(provider, said):
    ask = {"max_tokens": 1000, "messages": TURNS}
    text = claude.messages.create(model=f"{provider}-text", **ask)
    same("messages", text.content[0].text, said["text"]["text"])
    with claude.messages.stream(model=f"{provider}-text", **ask) as running:
        same("messages stream", "".join(running.text_stream), said["text"]["text"])
        same("messages usage", running.get_final_message().usage.output_tokens, said["text"]["tokens"][1])
    tools = [{"name": TOOL["name"], "description": TOOL["description"], "input_schema": TOOL["parameters"]}]
    with claude.messages.stream(model=f"{provider}-tools", tools=tools, **ask) as running:
        first = running.get_final_message()
    calls = [block for block in first.content if block.type == "tool_use"]
    same("messages tools", [[c.name, c.input] for c in calls], said["tools"]["calls"])
    results = [{"type": "tool_result", "tool_use_id": c.id, "content": weather(c.input["city"])} for c in calls]
    content = [block.to_dict() for block in first.content]
    turns = [*TURNS, {"role": "assistant", "content": content}, {"role": "user", "content": results}]
    answer = claude.messages.create(model=f"{provider}-tools", max_tokens=1000, messages=turns, tools=tools)
    same("messages results", answer.content[0].text, said["tool_results"]["text"])


def refused(kind, call):
    try:
        call()
    except kind:
        return
    raise AssertionError(f"no {kind.__name__}")


def failures(provider):
    def openai_chat(fault, sdk=client):
        return sdk.chat.completions.create(model=f"{provider}-{fault}--chat", messages=TURNS)

    def anthropic_messages(fault, sdk=claude):
        return sdk.messages.create(model=f"{provider}-{fault}--messages", max_tokens=9, messages=TURNS)

    for sdk, call in ((openai, openai_chat), (anthropic, anthropic_messages)):
        refused(sdk.BadRequestError, lambda: call("bad_request"))
        refused(sdk.InternalServerError, lambda: call("bad_key"))
        refused(sdk.InternalServerError, lambda: call("down"))
    # A wait that the provider names is kept by the SDK's own retry.
    openai_chat("limited_once", client.with_options(max_retries=1))
    anthropic_messages("limited_once", claude.with_options(max_retries=1))
    cut = client.chat.completions.create(model=f"{provider}-cut--chat", messages=TURNS, stream=True)
    refused(openai.APIError, lambda: list(cut))
    broken = claude.messages.create(model=f"{provider}-cut--messages", max_tokens=9, messages=TURNS, stream=True)
    refused(anthropic.APIError, lambda: list(broken))


for name, expected in fixtures["said"].items():
    chat(name, expected)
    responses(name, expected)
    messages(name, expected)
    failures(name)
    print(f"over a provider that speaks {name}: ok")
