// The least that a Worker can do that sees every piece of a stream: it copies them, and looks at none.

export default {
  async fetch(request, env, ctx) {
    const answer = await fetch(env.UPSTREAM + new URL(request.url).pathname, request);
    const through = new IdentityTransformStream();
    ctx.waitUntil(copy(answer.body.getReader(), through.writable.getWriter()));
    return new Response(through.readable, { status: answer.status, headers: answer.headers });
  },
};

async function copy(reader, writer) {
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return writer.close();
    await writer.write(value);
  }
}
