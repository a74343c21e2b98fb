import OpenAI from "openai";

const client = new OpenAI({
  baseURL: "http://localhost:8787/v1",
  apiKey: "visitor", // a placeholder: SDKs insist on a key, Gatehouse's pages need none
  dangerouslyAllowBrowser: true, // safe here, because the key is not a secret
});

const stream = await client.chat.completions.create({
  model: "site",
  messages: [{ role: "user", content: "Where are the keys kept?" }],
  stream: true,
});
let answer = "";
for await (const chunk of stream) answer += chunk.choices[0]?.delta?.content ?? "";
console.log(answer);
