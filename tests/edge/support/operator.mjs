// An operator: claims the house or joins it, signs in, and calls the operators' API.

import assert from "node:assert/strict";

import { call } from "./client.mjs";
import { ADMIN_TOKEN } from "./config.mjs";
import { authenticator } from "./totp.mjs";

export { ADMIN_TOKEN };

/** Somebody with an authenticator. */
class Operator {
  constructor(worker, { host, address = "192.0.2.200" } = {}) {
    this.worker = worker;
    this.host = host;
    this.address = address;
  }

  /** Calls `/api/admin…`. */
  async call(method, path, json, headers = {}) {
    const body = method === "GET" || method === "DELETE" ? {} : { json: json ?? {} };
    return call(this.worker.url, {
      method,
      path: `/api/admin${path}`,
      ...body,
      address: this.address,
      headers: { host: this.host, authorization: this.token && `Bearer ${this.token}`, ...headers },
    });
  }

  /** The same, confirming the second factor where it is asked for; the answer must have one of those statuses. */
  async do(method, path, json, statuses = [200, 201]) {
    let answer = await this.call(method, path, json);
    if (answer.status === 401 && answer.json().code === "second_factor_required") {
      await this.confirm();
      answer = await this.call(method, path, json);
    }
    assert.ok(statuses.includes(answer.status), `${method} ${path}: ${answer.status} ${answer.text}`);
    return answer.headers["content-type"]?.includes("json") ? answer.json() : answer.text;
  }

  async confirm() {
    const answer = await this.call("POST", "/me/confirm", { code: await this.authenticator.code() });
    assert.equal(answer.status, 200, answer.text);
  }

  /** The two steps of becoming an operator. */
  async enrol(path, proof, name) {
    const begun = await this.call("POST", path, { ...proof, name });
    assert.equal(begun.status, 200, begun.text);
    const { enrolment, operator_key: key, totp_secret: secret } = begun.json();
    Object.assign(this, { key, secret, authenticator: authenticator(secret) });
    const joined = await this.call("POST", path, { ...proof, enrolment, code: await this.authenticator.code() });
    assert.equal(joined.status, 201, joined.text);
    this.id = joined.json().operator;
    this.recoveryCodes = joined.json().recovery_codes;
    return this;
  }

  async signIn() {
    const answer = await this.call("POST", "/sign-in", { key: this.key, code: await this.authenticator.code() });
    assert.equal(answer.status, 200, answer.text);
    this.token = answer.json().token;
    return this;
  }
}

/** The first owner of a house, signed in. */
export async function claimHouse(worker, options) {
  const owner = new Operator(worker, options);
  await owner.enrol("/claim", { token: ADMIN_TOKEN }, "Olga Owner");
  return owner.signIn();
}

/** Another operator of that role, signed in. */
export async function invited(owner, role, options = {}) {
  const { invite } = await owner.do("POST", "/operators", { role });
  const operator = new Operator(owner.worker, { host: owner.host, address: owner.address, ...options });
  await operator.enrol("/join", { invite }, `An ${role}`);
  return operator.signIn();
}
