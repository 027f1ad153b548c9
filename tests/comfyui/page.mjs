// Open workflows in ComfyUI's page and report what it makes of them, as JSON:
//
//   node page.mjs URL CHROMIUM PLAYWRIGHT_FOLDER RENDERER WORKFLOW.json...
//
// For each workflow: the nodes and groups, the node types that the page does not know, the API export, the types of wires
// that have no color, and the errors that the page threw or logged. `available`: whether this page has the renderer.
import { readFileSync } from "node:fs";
import path from "node:path";
import { withPage } from "./browser.mjs";

const [url, executablePath, modules, renderer, ...files] = process.argv.slice(2);
const vue = renderer === "vue";

const report = await withPage({ url, executablePath, modules, renderer }, async ({ page, available, errors }) => {
  const before = errors.splice(0);
  const workflows = {};
  for (const file of available ? files : []) {
    const name = path.basename(file, ".json");
    const seen = await page.evaluate(openWorkflow, { data: JSON.parse(readFileSync(file, "utf8")), vue });
    workflows[name] = { ...seen, errors: errors.splice(0) };
  }
  return { available, before, workflows };
});
process.stdout.write(JSON.stringify(report));

// Runs in the page.
async function openWorkflow({ data, vue }) {
  const subgraphs = data.definitions?.subgraphs ?? [];
  const own = new Set(subgraphs.map((subgraph) => subgraph.id));
  const types = [...data.nodes, ...subgraphs.flatMap((subgraph) => subgraph.nodes)].map((node) => node.type);
  const missing = window.missingOf(types.filter((type) => !own.has(type)));

  await window.app.loadGraphData(data, true, true, null);
  await window.app.extensionManager.command.execute("Comfy.Canvas.FitView");
  const { nodes, groups } = await window.measured(vue);
  const api = (await window.app.graphToPrompt()).output;
  const colors = LGraphCanvas.link_type_colors;
  const grey = [...window.app.graph.links.values()].map((link) => link.type).filter((type) => !colors[type]);
  return { nodes, groups, missing, api, grey };
}
