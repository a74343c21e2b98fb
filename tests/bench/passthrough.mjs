// What everything is compared with: the least that a Worker in front of a provider can do.

export default {
  fetch(request, env) {
    return fetch(env.UPSTREAM + new URL(request.url).pathname, request);
  },
};
