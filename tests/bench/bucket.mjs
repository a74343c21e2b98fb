// What documents are compared with: the least that a Worker in front of a bucket can do.

export default {
  async fetch(request, env) {
    const key = new URL(request.url).pathname;
    if (request.method === "PUT") {
      await env.DOCUMENTS.put(key, request.body);
      return new Response();
    }
    if (request.method === "DELETE") {
      await env.DOCUMENTS.delete(key);
      return new Response();
    }
    const blob = await env.DOCUMENTS.get(key);
    return new Response(blob.body, { headers: { "content-length": String(blob.size) } });
  },
};
