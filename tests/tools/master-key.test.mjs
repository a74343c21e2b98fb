// The root of all keys: made from randomness or, on the operator's machine only, from a passphrase.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { at, filesBelow } from "../../tools/lib.mjs";
import { ITERATIONS, LEAST_ITERATIONS, askHidden, derive, fault, fromBase64url, pbkdf2 } from "../../tools/master-key.mjs";

/** Wycheproof, pbkdf2_hmacsha256_test.json: [tcId, password, salt, iterations, length, key]; 1 and 2 are RFC 7914 §11. */
const VECTORS = [
  [1, "706173737764", "73616c74", 1, 64, "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783"],
  [2, "50617373776f7264", "4e61436c", 80000, 64, "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56a1d425a1225833549adb841b51c9b3176a272bdebba1d078478f62b397f33c8d"],
  [3, "7130577430643470", "798acc7c76739d75", 4096, 16, "0501c73cb9f40b6769513e70e525051e"],
  [8, "6f4f4d37324f6330", "3827c3b6b1e6de7aab096eb75e23610d", 4096, 65, "907bc6a107df5940fb4c986b3f1ed888bcb0c41462df94b58de682c5627c1125492fd3091b06d83ce09794edad3776adb107994f671efe7b3ccd1d3a8fdcb444cc"],
  [17, "0f3b5e220e1c000c2a703a4d", "7cf71b19c0daf499", 4096, 65, "5f3110ce1e653e086b289eb972ddd496b44884b7eab0361d0e9a39426b1d977582bd32b84ae1a204a51dbd458757489e01928dbcced2397109a1470d8383804099"],
  [28, "d0bcccab64cf9a", "15187b0393d8a441", 4096, 42, "6a6287564b66b1f08bfabdfe2907b870b8c6ad8071efd78a7302c9472d7b80fb50c662bf609827006831"],
  [35, "de89d193d18c75c2b8c6bcd190d198c3a2", "c69c3b58917e0975", 4096, 65, "d9ac15032443c7ed2678a07849c65897a2625f367fee614895c6f4f655094721024342ad24f0fa654bbd1abc7d01993ab21120da4e6f5b36a67885462d14442732"],
  [41, "393d474fd84a259d", "775bde4bd6e40ddd", 4096, 65, "a6d3a1636fe688f9a0aef5050e749c9f641669e6b953958263752382cb324de125315c4f340464c935e15e60dfa61fc8e8cd15386b2ed9894fad8b327338dc91f7"],
  [51, "", "1a71e2118c9fbcc9", 4096, 32, "3e513d89ea5ad303f17cbf7cbdea54a940f0f5811844dfa875a55a8241d2f8df"],
  [52, "523249584467597a5a4271363970667a4a714e744b7761545a4544494676766b6a6253417167566e456a6b456b454557504e69383653626a6e376b725764394d67", "d26b99043c8ba3a4", 4096, 32, "c8595fa30dc95fb839bebfcc230f06844b2f75a393570b22d6c14d647837b87a"],
  [53, "63727a466d396430795463456a6468545758693877674e516f544e6d486e61686f6956317071613133655471477933497531354b4f52516339494c53646756527a45524e6b4463723565676a62584a78426572536a74726b6b674341616a63356243354434706e66743836663754626663666370595a30767354454d4930524178", "9266da5b8c102b27", 4096, 32, "24a86f12235e0232bc80a84635a43934b2d37ae1120b4aa1728a3ead93868980"],
  [54, "32647a56696e6f45774464656c656257797058314d6f4f685975585a463172514b7a32535a6c307578576377796f3561416e6f42524e7a5044763072513662693742345a34324f50695258534c6859684441643262746f647633744d54424430744b46316e4b655942656565547a70413145434150713942687a4a4c555a67737636754e4b664450333558414d684a486c736a6f5a796b677130624d506265556941796d6f324371586b64524752633876544176684e5a5838536f564d33704e74594a4a7258766975337547583233736a353847723061614a4b45763765796c373248636e6167713474766e533737626d6376676c79536d347370707a65673869", "6a06903b78dae6de", 4096, 32, "a50be9c16f6bf68808436aa3bc6eec36d3c5653c9c7510c1a4a641755b8325fb"],
  [55, "ff", "32140a66b88e1683", 4096, 16, "49bc8d940c8f67ae5ee0764f59dea94e"],
  [58, "eeeeeeeeeeeeeeee", "6b2269425e288d03", 4096, 16, "a80f332f10dfc0e4380b2fac8449fe77"],
];

function masterKey(args, input = "") {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [at("tools", "master-key.mjs"), ...args]);
    const result = { out: "", err: "" };
    child.stdout.on("data", (data) => (result.out += data));
    child.stderr.on("data", (data) => (result.err += data));
    child.on("error", reject);
    child.on("close", (code) => resolve({ ...result, code }));
    child.stdin.on("error", () => {}); // A refusal may come before the input was read.
    child.stdin.end(input);
  });
}

test("the derivation agrees with vectors that were not written here", () => {
  assert.equal(VECTORS.length, 14);
  for (const [id, password, salt, iterations, length, key] of VECTORS) {
    const made = pbkdf2(Buffer.from(password, "hex"), Buffer.from(salt, "hex"), iterations, length);
    assert.equal(made.toString("hex"), key, `vector ${id}`);
  }
});

test("a key is derived by that function with at least 600,000 iterations", () => {
  assert.equal(LEAST_ITERATIONS, 600_000);
  assert.ok(ITERATIONS >= LEAST_ITERATIONS);
  const salt = Buffer.alloc(16, 7);
  const text = "correct horse battery staple";
  const key = derive(text, salt, 600_000);
  assert.deepEqual(key, pbkdf2(Buffer.from(text), salt, 600_000, 32));
  for (const iterations of [599_999, 1, 0, -1, 600_000.5, NaN, Infinity, "600000"]) {
    assert.throws(() => derive(text, salt, iterations), /at least 600000/, String(iterations));
  }
  assert.throws(() => derive(text, Buffer.alloc(15), 600_000), /salt/);
  assert.throws(() => derive("short", salt, 600_000), /at least 16 characters/);
});

test("the same letters are the same passphrase, however the system composes them", () => {
  const salt = Buffer.alloc(16, 7);
  const [composed, decomposed] = ["Z\u00fcrich, Gen\u00e8ve, Basel", "Zu\u0308rich, Gene\u0300ve, Basel"];
  assert.notEqual(composed, decomposed);
  assert.deepEqual(derive(composed, salt, 600_000), derive(decomposed, salt, 600_000));
});

test("a random key is good, alone on standard output, and another one each time", async () => {
  const [first, second] = await Promise.all([masterKey([]), masterKey([])]);
  assert.match(first.out, /^[A-Za-z0-9_-]{43}\n$/);
  assert.equal(first.err, "");
  assert.equal(fault(first.out), undefined);
  assert.notEqual(first.out, second.out);
});

test("a passphrase gives the same key again with the salt that was printed", async () => {
  const passphrase = "six random words are a good passphrase\n";
  const first = await masterKey(["--passphrase", "--iterations", "600000"], passphrase);
  assert.equal(first.code, 0, first.err);
  assert.doesNotMatch(first.err, /random words/);
  const again = first.err.match(/--passphrase (--salt \S+ --iterations 600000)/)[1].split(" ");
  const second = await masterKey(["--passphrase", ...again], passphrase);
  assert.equal(second.out, first.out);
  const other = await masterKey(["--passphrase", "--iterations", "600000"], passphrase);
  assert.notEqual(other.out, first.out);
});

test("what would make a weak key or hide a slip is refused, and no key is printed", async () => {
  const passphrase = "six random words are a good passphrase\n";
  const cases = [
    [["--passphrase", "--iterations", "100000"], /at least 600000/],
    [["--passphrase", "--iterations", "many"], /at least 600000/],
    [["--passphrase", "--salt", "AAAA"], /salt must have/],
    [["--passphrase", "--salt", "no salt!"], /not base64url/],
    [["--salt", "A".repeat(22)], /goes with --passphrase/],
    [["--passphrase=yes"], /does not take an argument/],
    [["--pasphrase"], /Unknown option/],
  ];
  for (const [args, message] of cases) {
    const { code, out, err } = await masterKey(args, passphrase);
    assert.equal(code, 1, args.join(" "));
    assert.equal(out, "");
    assert.match(err, message);
    assert.doesNotMatch(err, /random words|    at /);
  }
});

test("what is typed at a terminal does not show, can be asked twice, and can be stopped", async () => {
  const input = Object.assign(new PassThrough(), { raw: [], setRawMode: (on) => input.raw.push(on) });
  const output = new PassThrough();
  const ask = (typed) => {
    const answer = askHidden("Passphrase: ", input, output);
    assert.equal(input.raw.at(-1), true);
    for (const part of typed) input.write(part);
    return answer;
  };
  const typed = [Buffer.from("Z\u00fc"), Buffer.from("rix\u007fch\r")];
  assert.equal(await ask([typed[0].subarray(0, 2), typed[0].subarray(2), typed[1]]), "Z\u00fcrich");
  assert.equal(await ask(["again\n"]), "again");
  await assert.rejects(ask(["secret\u0003"]), /stopped/);
  assert.deepEqual(input.raw, [true, false, true, false, true, false]);
  assert.equal(output.read().toString(), "Passphrase: \n".repeat(3));
});

test("--check tells a good key from a bad one and shows neither", async () => {
  const good = (await masterKey([])).out;
  assert.equal((await masterKey(["--check"], good)).code, 0);
  for (const bad of ["", "short", `${good.trim()}AAAA`, "A".repeat(43), "not base64url, but forty-three characters.."]) {
    const { code, out, err } = await masterKey(["--check"], bad);
    assert.equal(code, 1, bad);
    assert.equal(out, "");
    assert.ok(bad === "" || !err.includes(bad));
  }
  assert.equal(fromBase64url("AB=="), undefined);
});

test("the Worker has no PBKDF2: the platform caps it at 100,000 iterations, and no passphrase reaches it", () => {
  const sources = filesBelow("src");
  assert.ok(sources.length > 50);
  for (const file of sources) assert.doesNotMatch(readFileSync(file, "utf8"), /pbkdf2/i, file);
  const manifest = readFileSync(at("Cargo.toml"), "utf8");
  assert.doesNotMatch(manifest.slice(manifest.indexOf("[dependencies]"), manifest.indexOf("[dev-dependencies]")), /pbkdf2/i);
});
