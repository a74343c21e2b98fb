import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { streamText } from "ai";

const gatehouse = createOpenAICompatible({
  name: "gatehouse",
  baseURL: "http://localhost:8787/v1",
  apiKey: "visitor",
});

const { textStream } = streamText({
  model: gatehouse("site"),
  prompt: "Where are the keys kept?",
});
let answer = "";
for await (const part of textStream) answer += part;
console.log(answer);
