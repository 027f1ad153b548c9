// ComfyUI's page in a headless Chromium, for the scripts beside this one. Requests to other machines are refused, which
// is no error.
import { createRequire } from "node:module";
import path from "node:path";

const FIRST_VUE = [1, 33];  // earlier pages have the setting, but do not yet draw nodes at their places
const SETTING = "Comfy.VueNodes.Enabled";
const LOCAL = new Set(["127.0.0.1", "localhost"]);

// Open the page, draw its nodes with `renderer` ("classic" or "vue"), and call `use({ page, available, errors })`.
// `available`: whether this page has the renderer. `errors`: what the page threw or logged since it was last emptied.
export async function withPage({ url, executablePath, modules, renderer }, use) {
  const { chromium } = createRequire(path.join(path.resolve(modules), "x.js"))("playwright-core");
  const browser = await chromium.launch({
    executablePath,
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--use-gl=swiftshader"],
  });
  const vue = renderer === "vue";
  try {
    await setRenderer(url, vue);
    const page = await browser.newPage({ viewport: { width: 1600, height: 1000 } });
    const errors = [];
    page.on("pageerror", (error) => errors.push(String(error.stack || error).slice(0, 500)));
    page.on("console", (message) => {
      const refused = /^Failed to load resource|Failed to fetch|Content Security Policy/.test(message.text());
      if (message.type() === "error" && !refused) errors.push(message.text().slice(0, 500));
    });
    await page.route("**/*", (route) => {
      const at = new URL(route.request().url());
      return LOCAL.has(at.hostname) || ["data:", "blob:"].includes(at.protocol) ? route.continue() : route.abort();
    });
    await page.goto(url, { waitUntil: "domcontentloaded", timeout: 120000 });
    await page.waitForFunction(
      () => window.app?.graph && window.app?.extensionManager?.workflow && !document.querySelector(".p-progressspinner"),
      null, { timeout: 120000 });
    const [major, minor] =
      await page.evaluate(() => (window.__COMFYUI_FRONTEND_VERSION__ ?? "0.0").split(".").map(Number));
    const available = !vue || major > FIRST_VUE[0] || (major === FIRST_VUE[0] && minor >= FIRST_VUE[1]);
    await page.evaluate(`window.measured = ${measured}; window.missingOf = ${missingOf};`);
    return await use({ page, available, errors });
  } finally {
    await browser.close();
    await setRenderer(url, false);
  }
}

async function setRenderer(url, on) {
  const body = JSON.stringify(on);
  await fetch(`${url}/api/settings/${SETTING}`, { method: "POST", headers: { "Content-Type": "application/json" }, body });
}

// In the page: the rectangles of the nodes of the graph that is shown, on the canvas and, drawn by Vue, in the document,
// and those of its groups.
async function measured(vue) {
  const pause = (ms) => new Promise((resolve) => setTimeout(() => requestAnimationFrame(resolve), ms));
  const { graph } = window.app.canvas;
  const rectangles = () => {
    const { scale, offset } = window.app.canvas.ds;
    return graph.nodes.map((node) => {
      const box = document.querySelector(`[data-node-id="${node.id}"]`)?.getBoundingClientRect();
      const dom = box && [box.x / scale - offset[0], box.y / scale - offset[1], box.width / scale, box.height / scale];
      return { id: node.id, type: node.type, title: node.title, canvas: [...node.getBounding()], dom: dom ?? null };
    });
  };
  // The view moves until all fits in; Vue draws each node a little later than the canvas places it.
  const placed = ({ canvas, dom }) => dom && Math.abs(dom[0] - canvas[0]) < 1 && Math.abs(dom[1] - canvas[1]) < 1;
  let nodes, before;
  for (let waited = 0; waited < 10000; waited += 150) {
    await pause(150);
    nodes = rectangles();
    const now = JSON.stringify(nodes.map((node) => (vue ? node.dom : node.canvas)?.map(Math.round)));
    if (now === before && (!vue || nodes.every(placed))) break;
    before = now;
  }
  const groups = graph.groups.map((group) => ({ title: group.title, canvas: [...group.boundingRect ?? group._bounding] }));
  return { nodes, groups };
}

// In the page: the types among these that it does not know.
function missingOf(types) {
  const builtin = new Set(["Note", "MarkdownNote", "Reroute", "PrimitiveNode"]);
  return types.filter((type) => !LiteGraph.registered_node_types[type] && !builtin.has(type));
}
