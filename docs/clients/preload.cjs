// Sends the calls of fal's JavaScript clients to your own server, without a change to the program:
//   FOOOCUS_GATEWAY=http://127.0.0.1:8190 FAL_KEY=any NODE_OPTIONS="--require ./preload.cjs" node program.mjs
"use strict";
const base = process.env.FOOOCUS_GATEWAY || "http://127.0.0.1:8190";
const services = {
  "queue.fal.run": "/fal/queue",
  "fal.run": "/fal/run",
  "rest.fal.ai": "/fal/rest",
  "rest.alpha.fal.ai": "/fal/rest",
};
const original = globalThis.fetch;
globalThis.fetch = (address, options) => {
  if (typeof address !== "string" && !(address instanceof URL)) return original(address, options);
  const url = new URL(String(address), base);
  const service = services[url.host];
  return original(service ? base + service + url.pathname + url.search : address, options);
};
