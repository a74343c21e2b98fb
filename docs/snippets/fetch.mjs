const response = await fetch("http://localhost:8787/v1/chat/completions", {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({
    model: "site",
    messages: [{ role: "user", content: "Where are the keys kept?" }],
  }),
});
const body = await response.json();
if (!response.ok) {
  const { title, fix, request_id: requestId } = body.error.gatehouse;
  throw new Error(`${title} ${fix} (request ${requestId})`);
}
console.log(body.choices[0].message.content);
