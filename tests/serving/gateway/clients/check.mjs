// Checks a JavaScript client against a gateway: node check.mjs CLIENT RECIPE, in a folder where the clients are.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [client, recipe] = process.argv.slice(2);
const BASE = process.env.FOOOCUS_GATEWAY;
const KEY = process.env.GATEWAY_KEY;
const isNew = client === "@fal-ai/client";
const module = createRequire(`${process.cwd()}/`)(client);
const fal = module.fal ?? module;
const SERVICES = {
  "queue.fal.run": "/fal/queue", "fal.run": "/fal/run", "rest.fal.ai": "/fal/rest", "rest.alpha.fal.ai": "/fal/rest",
};
const local = (address) => {
  const url = new URL(address);
  return SERVICES[url.host] ? BASE + SERVICES[url.host] + url.pathname + url.search : address;
};
const RECIPES = {
  J1: (key) => ({ credentials: key, proxyUrl: { url: `${BASE}/fal/proxy`, when: "always" } }),
  J3: (key) => ({ credentials: key, fetch: (url, options) => fetch(local(String(url)), options) }),
  J4: (key) => ({ credentials: key }),
  unchanged: (key) => ({ credentials: key }),
};
const use = (key) => fal.config(RECIPES[recipe](key));
const APP = "fal-ai/fooocus";
const FAST = { uov_method: "Upscale (Fast 2x)", output_format: "png", enable_safety_checker: false };
const picture = new Blob([readFileSync(process.env.PICTURE)], { type: "image/png" });
const output = (reply) => (isNew ? reply.data : reply);
const passed = [];
const check = async (name, act) => { await act(); passed.push(name); console.log(name); };
const fails = async (promise, status) => {
  const error = await promise.then(() => assert.fail(`no error, expected ${status}`), (caught) => caught);
  assert.equal(error.status, status, String(error));
  return error;
};

use(KEY);
await check("subscribe with logs and an uploaded picture", async () => {
  const logs = [], ids = [];
  const reply = await fal.subscribe(`${APP}/upscale-or-vary`, {
    input: { ...FAST, uov_image_url: picture }, logs: true, pollInterval: 100,
    onEnqueue: (id) => ids.push(id), onQueueUpdate: (state) => { if (state.status === "COMPLETED") logs.push(...state.logs.map((log) => log.message)); },
  });
  const [image] = output(reply).images;
  assert.equal(image.width, image.height);
  if (isNew) assert.equal(reply.requestId, ids[0]);
  assert.ok(logs.length);
  const file = await fetch(image.url);
  assert.equal(file.headers.get("content-type"), "image/png");
});
await check("subscribe over server-sent events", async () => {
  const reply = await fal.subscribe(`${APP}/upscale-or-vary`, { input: { ...FAST, uov_image_url: picture }, mode: "streaming", logs: true });
  assert.equal(output(reply).images.length, 1);
});
await check("run", async () => {
  const url = await fal.storage.upload(picture);
  assert.ok(url.startsWith("http://127.0.0.1"));
  const input = { ...FAST, uov_image_url: url, sync_mode: true };
  const reply = await fal.run(`${APP}/upscale-or-vary`, { input });
  assert.ok(output(reply).images[0].url.startsWith("data:image/png;base64,"));
});
await check("submit, status and result by hand", async () => {
  const { request_id: requestId } = await fal.queue.submit(`${APP}/upscale-or-vary`, { input: { ...FAST, uov_image_url: picture } });
  let state;
  do { state = await fal.queue.status(APP, { requestId, logs: true }); await new Promise((done) => setTimeout(done, 50)); } while (state.status !== "COMPLETED");
  const reply = await fal.queue.result(APP, { requestId });
  assert.equal(output(reply).images.length, 1);
});
await check("cancel while running and while waiting", async () => {
  const input = { prompt: "a red circle", performance: "Quality", aspect_ratio: "1024x1024", enable_safety_checker: false };
  const running = (await fal.queue.submit(APP, { input })).request_id;
  const waiting = (await fal.queue.submit(APP, { input })).request_id;
  let state;
  do { state = await fal.queue.status(APP, { requestId: running, logs: true }); await new Promise((done) => setTimeout(done, 50)); } while (state.status === "IN_QUEUE");
  for (const requestId of [waiting, running]) {
    await fal.queue.cancel(APP, { requestId });
    do { state = await fal.queue.status(APP, { requestId }); await new Promise((done) => setTimeout(done, 50)); } while (state.status !== "COMPLETED");
    await fails(fal.queue.result(APP, { requestId }), 499);
  }
});
await check("a wrong request, an unknown id and a wrong key", async () => {
  const error = await fails(fal.subscribe(APP, { input: { guidance_scale: 99 }, pollInterval: 100 }), 422);
  assert.equal(error.body.detail[0].loc.at(-1), "guidance_scale");
  await fails(fal.queue.result(APP, { requestId: "nobody" }), 404);
  use("wrong:key");
  await fails(fal.queue.submit(APP, { input: {} }), 401);
  use(KEY);
});
if (isNew && process.env.LARGE) await check("an upload in parts", async () => {
  const large = new Blob([new Uint8Array(91 * 1024 * 1024)], { type: "application/octet-stream" });
  const url = await fal.storage.upload(large);
  const reply = await fetch(url);
  assert.equal((await reply.arrayBuffer()).byteLength, large.size);
});
console.log(`${passed.length} checks passed`);
process.exit(0);
