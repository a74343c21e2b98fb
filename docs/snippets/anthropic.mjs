import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({
  baseURL: "http://localhost:8787", // this SDK adds /v1 itself
  apiKey: "visitor",
  dangerouslyAllowBrowser: true,
});

const message = await client.messages.create({
  model: "site",
  max_tokens: 500,
  messages: [{ role: "user", content: "Where are the keys kept?" }],
});
console.log(message.content[0].text);
