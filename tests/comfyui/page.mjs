// Open workflows in ComfyUI's page and report what it makes of them, as JSON:
//
//   node page.mjs URL CHROMIUM PLAYWRIGHT_FOLDER RENDERER WORKFLOW.json...
//
// RENDERER is "classic" or "vue". Requests to other machines are refused, which is no error. For each workflow: the nodes (their rectangles
// on the canvas and, drawn by Vue, in the document), the groups, the node types that the page does not know, the API
// export, and the errors that the page threw or logged. `available`: whether this page has the renderer.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const [url, executablePath, modules, renderer, ...files] = process.argv.slice(2);
const { chromium } = createRequire(path.join(path.resolve(modules), "x.js"))("playwright-core");
const FIRST_VUE = [1, 33];  // earlier pages have the setting, but do not yet draw nodes at their places
const SETTING = "Comfy.VueNodes.Enabled";
const LOCAL = new Set(["127.0.0.1", "localhost"]);
const vue = renderer === "vue";

const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--use-gl=swiftshader"],
});
const report = { available: true, before: [], workflows: {} };
try {
  await setRenderer(vue);
  const page = await browser.newPage({ viewport: { width: 1600, height: 1000 } });
  let errors = report.before;
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
  const [major, minor] = await page.evaluate(() => (window.__COMFYUI_FRONTEND_VERSION__ ?? "0.0").split(".").map(Number));
  report.available = !vue || major > FIRST_VUE[0] || (major === FIRST_VUE[0] && minor >= FIRST_VUE[1]);
  for (const file of report.available ? files : []) {
    const name = path.basename(file, ".json");
    errors = [];
    const seen = await page.evaluate(openWorkflow, { data: JSON.parse(readFileSync(file, "utf8")), name, vue });
    report.workflows[name] = { ...seen, errors };
  }
} finally {
  await browser.close();
  await setRenderer(false);
}
process.stdout.write(JSON.stringify(report));

async function setRenderer(on) {
  const body = JSON.stringify(on);
  await fetch(`${url}/api/settings/${SETTING}`, { method: "POST", headers: { "Content-Type": "application/json" }, body });
}

// Runs in the page.
async function openWorkflow({ data, name, vue }) {
  const pause = (ms) => new Promise((resolve) => setTimeout(() => requestAnimationFrame(resolve), ms));
  const builtin = new Set(["Note", "MarkdownNote", "Reroute", "PrimitiveNode"]);
  const subgraphs = data.definitions?.subgraphs ?? [];
  const own = new Set(subgraphs.map((subgraph) => subgraph.id));
  const types = [...data.nodes, ...subgraphs.flatMap((subgraph) => subgraph.nodes)].map((node) => node.type);
  const missing = types.filter((type) => !LiteGraph.registered_node_types[type] && !builtin.has(type) && !own.has(type));

  await window.app.loadGraphData(data, true, true, null);
  await window.app.extensionManager.command.execute("Comfy.Canvas.FitView");
  const graph = window.app.graph;
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
  const api = (await window.app.graphToPrompt()).output;
  const unpacked = [];
  for (const node of [...graph.nodes].filter((node) => own.has(node.type) && graph.unpackSubgraph)) {
    graph.unpackSubgraph(node);
    unpacked.push(...graph.nodes.map((inner) => inner.type));
  }
  return { nodes, groups, missing, api, unpacked };
}
