"use strict";
// The page talks to the server that it comes from and to no other.
const $ = (id) => document.getElementById(id);
const POLL = 500;
const FIRST = /^(prompt|negative_prompt|styles|performance|aspect_ratio|num_images|seed|.*_url|image_prompt_1|uov_method|inpaint_mode)$/;
const SERVICES = location.pathname.endsWith("/fal/") ? "." : "fal";  // inside ComfyUI, the page is below /fal/ itself
let schemas = {};
let inputs = {};

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") made.addEventListener("click", value);
    else if (value !== false && value !== undefined) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

async function call(path, options = {}) {
  const key = sessionStorage.getItem("key");
  const headers = { ...(key ? { Authorization: `Key ${key}` } : {}), ...(options.headers || {}) };
  const reply = await fetch(path, { ...options, headers });
  const body = await reply.json().catch(() => ({}));
  if (reply.status === 401) $("key-row").hidden = false;
  return { ok: reply.ok, status: reply.status, body };
}

function resolved(schema) {
  if (schema.$ref) return { ...schemas[schema.$ref.split("/").pop()], ...schema, $ref: undefined };
  const some = (schema.anyOf || schema.allOf || []).filter((one) => one.type !== "null");
  return some.length === 1 ? { ...resolved(some[0]), ...schema, anyOf: undefined, allOf: undefined } : schema;
}

function control(name, given) {
  const schema = resolved(given);
  const fallback = schema.default;
  if (schema.enum) {
    const select = element("select", { name });
    for (const value of schema.enum) select.append(element("option", { selected: value === fallback }, value));
    return [select, () => select.value];
  }
  if (schema.type === "boolean") {
    const box = element("input", { type: "checkbox", name });
    box.checked = Boolean(fallback);
    return [box, () => box.checked];
  }
  if (schema.type === "integer" || schema.type === "number") {
    const step = schema.type === "integer" ? 1 : "any";
    const field = element("input", { type: "number", name, step, min: schema.minimum, max: schema.maximum, value: fallback ?? "" });
    return [field, () => (field.value === "" ? undefined : Number(field.value))];
  }
  if (schema.type === "array" && resolved(schema.items).enum) {
    const select = element("select", { name, multiple: true });
    for (const value of resolved(schema.items).enum)
      select.append(element("option", { selected: (fallback || []).includes(value) }, value));
    return [select, () => [...select.selectedOptions].map((option) => option.value)];
  }
  if (schema.type === "array" || schema.type === "object") {
    const field = element("textarea", { name, spellcheck: "false" });
    field.value = fallback === undefined || fallback === null ? "" : JSON.stringify(fallback, null, 1);
    return [field, () => (field.value.trim() ? JSON.parse(field.value) : undefined)];
  }
  if (name.endsWith("_url")) return picture(name);
  const field = name.includes("prompt") ? element("textarea", { name }) : element("input", { name });
  field.value = fallback ?? "";
  return [field, () => (field.value === "" ? undefined : field.value)];
}

function picture(name) {
  const address = element("input", { name, placeholder: "URL, or choose a file" });
  const file = element("input", { type: "file", accept: "image/*", "aria-label": `file for ${name}` });
  file.addEventListener("change", async () => {
    const chosen = file.files[0];
    if (chosen) address.value = await upload(chosen);
  });
  return [element("div", {}, address, file), () => address.value || undefined];
}

async function upload(file) {
  const body = JSON.stringify({ file_name: file.name, content_type: file.type });
  const begun = await call(`${SERVICES}/rest/storage/upload/initiate`, { method: "POST", body });
  await fetch(begun.body.upload_url, { method: "PUT", body: file });
  return begun.body.file_url;
}

function imagePrompt(schema) {
  const parts = Object.entries(schema.properties).map(([name, one]) => [name, one, ...control(name, one)]);
  const box = element("fieldset", {}, ...parts.map(([name, one, field]) => labelled(name, one, field)));
  const read = () => {
    const values = Object.fromEntries(parts.map(([name, , , value]) => [name, value()]));
    return values.image_url ? values : undefined;
  };
  return [box, read];
}

function labelled(name, schema, field) {
  const help = schema.description ? [element("small", {}, schema.description)] : [];
  return element("label", {}, element("span", {}, name.replaceAll("_", " ")), field, ...help);
}

function showForm() {
  const schema = schemas[inputs[$("endpoint").value]];
  const required = schema.required || [];
  const readers = {};
  const fields = Object.entries(schema.properties).map(([name, one]) => {
    const whole = resolved(one);
    const [field, read] = whole.properties ? imagePrompt(whole) : control(name, one);
    readers[name] = read;
    return labelled(name + (required.includes(name) ? " (required)" : ""), whole, field);
  });
  const names = Object.keys(schema.properties);
  const first = fields.filter((_, number) => required.includes(names[number]) || FIRST.test(names[number]));
  const rest = element("details", {}, element("summary", {}, "More"), ...fields.filter((field) => !first.includes(field)));
  const run = element("button", {}, "Run");
  const problem = element("p", { class: "error", role: "alert" });
  $("form").replaceChildren(...first, rest, run, problem);
  $("form").onsubmit = (event) => {
    event.preventDefault();
    problem.textContent = "";
    submit(readers).catch((error) => (problem.textContent = error.message));
  };
}

async function submit(readers) {
  const body = {};
  for (const [name, read] of Object.entries(readers)) {
    const value = read();
    if (value !== undefined) body[name] = value;
  }
  const endpoint = $("endpoint").value;
  const accepted = await call(`${SERVICES}/queue/${endpoint}`, { method: "POST", body: JSON.stringify(body) });
  if (!accepted.ok) throw new Error(sentence(accepted.body) || `the server answered ${accepted.status}`);
  follow(accepted.body.request_id, endpoint);
}

function sentence(body) {
  if (Array.isArray(body.detail)) return body.detail.map((one) => `${one.loc.slice(1).join(".")}: ${one.msg}`).join("; ");
  return body.detail || body.message || "";
}

function card(id, endpoint) {
  const found = document.querySelector(`[data-id="${id}"]`);
  if (found) return found;
  const made = element("li", { "data-id": id }, element("strong", {}, endpoint), element("div", { class: "state" }, "…"));
  $("requests").prepend(made);
  return made;
}

async function follow(id, endpoint) {
  const state = card(id, endpoint).querySelector(".state");
  const cancel = element("button", { onclick: () => call(`page/requests/${id}/cancel`, { method: "PUT" }) }, "Cancel");
  for (;;) {
    const { ok, body } = await call(`page/requests/${id}`);
    if (!ok) return state.replaceChildren(element("p", { class: "error" }, sentence(body)));
    if (body.status === "COMPLETED") return finish(id, state, body);
    const words = body.status === "IN_QUEUE" ? `waiting, ${body.queue_position} before it` : body.log || "running";
    const shown = [element("p", {}, words)];
    if (body.total) shown.push(element("progress", { value: body.value, max: body.total }));
    if (body.preview) shown.push(element("img", { src: body.preview, alt: "preview" }));
    state.replaceChildren(...shown, cancel);
    await new Promise((done) => setTimeout(done, POLL));
  }
}

function finish(id, state, body) {
  const shown = [];
  if (body.output) for (const image of body.output.images)
    shown.push(element("a", { href: image.url, target: "_blank" }, element("img", { src: image.url, alt: image.file_name })));
  else shown.push(element("p", { class: "error" }, sentence(body.error)));
  const request = element("pre", {}, JSON.stringify(body.request, null, 1));
  shown.push(element("details", {}, element("summary", {}, "Request"), request));
  if (body.output) shown.push(element("button", { onclick: () => workflow(id) }, "Open as workflow"));
  state.replaceChildren(...shown);
}

async function workflow(id) {
  const { ok, body } = await call(`page/requests/${id}/workflow`);
  if (!ok) return alert(sentence(body));
  const file = new Blob([JSON.stringify(body)], { type: "application/json" });
  const link = element("a", { href: URL.createObjectURL(file), download: `${id}.json` });
  link.click();
  URL.revokeObjectURL(link.href);
}

async function overview() {
  const { ok, body } = await call("page/state");
  if (ok) {
    const workers = body.workers.map((one) => `${one.device} ${one.state}${one.reason ? `: ${one.reason}` : ""}`);
    $("overview").textContent = `${body.waiting} waiting, ${body.running} running · workers: ${workers.join(", ") || "none"}`;
    for (const one of [...body.unfinished, ...body.recent].reverse())
      if (!document.querySelector(`[data-id="${one.id}"]`)) follow(one.id, one.endpoint);
  } else $("overview").textContent = sentence(body) || "The server does not answer";
}

async function start() {
  $("key").value = sessionStorage.getItem("key") || "";
  $("key").addEventListener("change", () => {
    sessionStorage.setItem("key", $("key").value);
    overview();
  });
  const document_ = (await call("openapi.json")).body;
  schemas = document_.components.schemas;
  for (const [path, item] of Object.entries(document_.paths)) {
    const endpoint = path.replace("/fal/queue/", "");
    if (path === endpoint || !item.post) continue;
    inputs[endpoint] = item.post.requestBody.content["application/json"].schema.$ref.split("/").pop();
    $("endpoint").append(element("option", {}, endpoint));
  }
  $("endpoint").addEventListener("change", showForm);
  showForm();
  await overview();
  setInterval(overview, 2000);
}

start().catch((error) => ($("overview").textContent = error.message));
