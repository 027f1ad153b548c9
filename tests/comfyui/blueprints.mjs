// Place blueprints in ComfyUI's page as people do, run them, and unpack them; reports what came of it, as JSON:
//
//   node blueprints.mjs URL CHROMIUM PLAYWRIGHT_FOLDER RENDERER SETTINGS.json
//
// SETTINGS: { names: the blueprints, files: the widgets that name model files, picture: an image in the input folder,
// set: widgets of the node to set before the run, by name }.
// For each blueprint: the rows that the search shows for its name, the node that was placed and its API export, how its
// run ended and the images that it saved, and the API export of the graph that was unpacked.
// `listed`: the blueprints in the page's list, [name, category, description] each.
import { readFileSync } from "node:fs";
import { withPage } from "./browser.mjs";

const [url, executablePath, modules, renderer, settings] = process.argv.slice(2);
const { names, files, picture, set } = JSON.parse(readFileSync(settings, "utf8"));
const MIDDLE = [800, 500];

const report = await withPage({ url, executablePath, modules, renderer }, async ({ page, available, errors }) => {
  const before = errors.splice(0);
  const listed = await page.evaluate(() => {
    const stores = document.querySelector("#vue-app").__vue_app__.config.globalProperties.$pinia._s;
    return stores.get("subgraph")?.subgraphBlueprints.map((b) => [b.display_name, b.category, b.description]) ?? [];
  });
  const blueprints = {};
  for (const name of available ? names : []) {
    await page.evaluate(() => window.app.extensionManager.command.execute("Comfy.NewBlankWorkflow"));
    await page.waitForFunction(() => !window.app.graph.nodes.length);
    const rows = await place(page, name);
    const placed = await page.evaluate(wire, picture);
    const unpacked = await page.evaluate(unpack);
    await page.evaluate((graph) => window.app.loadGraphData(JSON.parse(graph)), placed.graph);
    await page.evaluate(choose, { files, set });
    const ran = await page.evaluate(run);
    delete placed.graph;
    blueprints[name] = { rows, placed, unpacked, ran, errors: errors.splice(0) };
  }
  return { available, before, listed, blueprints };
});
process.stdout.write(JSON.stringify(report));

// Search the name with a double click on the canvas, take the first row, and set the node down.
async function place(page, name) {
  const dialog = page.getByRole("dialog");
  for (let tries = 0; tries < 5 && !(await dialog.isVisible()); tries++) {
    await page.mouse.dblclick(...MIDDLE);
    await dialog.waitFor({ timeout: 5000 }).catch(() => {});
  }
  const search = dialog.getByRole("combobox").or(dialog.getByRole("textbox")).first();
  await search.fill(name);
  const row = page.getByRole("option").filter({ hasText: name });
  await row.first().waitFor({ timeout: 20000 });
  const rows = await page.getByRole("option").allInnerTexts();
  await row.first().click();
  await page.mouse.click(...MIDDLE);
  await page.waitForFunction((title) => window.app.graph.nodes.some((node) => node.title === title), name);
  return rows;
}

// In the page: wire pictures to the node's inputs and a node that saves to its output.
async function wire(picture) {
  const { graph } = window.app;
  const [node] = graph.nodes;
  const add = (type, x, y) => {
    const added = LiteGraph.createNode(type);
    added.pos = [x, y];
    graph.add(added);
    return added;
  };
  const sockets = node.inputs.filter((input) => !input.widget);
  if (sockets.length) {
    const load = add("LoadImage", node.pos[0] - 500, node.pos[1]);
    load.widgets.find((widget) => widget.name === "image").value = picture;
    for (const socket of sockets) load.connect(socket.type === "MASK" ? 1 : 0, node, node.inputs.indexOf(socket));
  }
  const save = add("SaveImage", node.pos[0] + 600, node.pos[1]);
  node.connect(node.outputs.findIndex((output) => output.type === "IMAGE"), save, 0);
  return {
    title: node.title,
    widgets: node.widgets.map((widget) => [widget.name, widget.value]),
    sockets: sockets.map((socket) => socket.name),
    graph: JSON.stringify(graph.serialize()),
    api: (await window.app.graphToPrompt()).output,
  };
}

// In the page: put the node's graph in its place.
async function unpack() {
  const { canvas, graph, extensionManager } = window.app;
  canvas.selectItems([graph.nodes.find((node) => node.isSubgraphNode?.())]);
  await new Promise((resolve) => setTimeout(resolve, 300));
  await extensionManager.command.execute("Comfy.Graph.UnpackSubgraph");
  await new Promise((resolve) => setTimeout(resolve, 300));
  const types = graph.nodes.map((node) => node.type);
  return { types, missing: window.missingOf(types), api: (await window.app.graphToPrompt()).output };
}

// In the page: choose the pocket's files, on the node where it shows their widgets and else in its graph, and set `set`.
function choose({ files, set }) {
  const node = window.app.graph.nodes.find((node) => node.isSubgraphNode?.());
  const pocket = (widget) => { widget.value = `pocket/${widget.value}`; };
  const promoted = new Set();
  for (const input of node.inputs.filter((input) => input.widget)) {
    const [link] = node.subgraph.inputs.find((slot) => slot.name === input.name).linkIds;
    const { inputNode, input: inner } = node.subgraph.getLink(link).resolve(node.subgraph);
    const widget = node.widgets.find((widget) => widget.name === input.name);
    if (files.includes(inner.widget.name)) pocket(widget);
    if (input.name in set) widget.value = set[input.name];
    promoted.add(`${inputNode.id}.${inner.widget.name}`);
  }
  for (const inner of node.subgraph.nodes) {
    for (const widget of inner.widgets ?? []) {
      if (files.includes(widget.name) && !promoted.has(`${inner.id}.${widget.name}`)) pocket(widget);
    }
  }
}

// In the page: press Run, and follow the run to its end.
async function run() {
  const { app } = window;
  const images = [];
  const ended = new Promise((resolve) => {
    const executed = ({ detail }) => images.push(...(detail.output?.images ?? []));
    app.api.addEventListener("executed", executed);
    for (const kind of ["success", "error", "interrupted"]) {
      app.api.addEventListener(`execution_${kind}`, ({ detail }) => {
        app.api.removeEventListener("executed", executed);
        resolve({ status: kind, message: detail.exception_message ?? "" });
      }, { once: true });
    }
  });
  const before = (await app.graphToPrompt()).output;
  await app.extensionManager.command.execute("Comfy.QueuePrompt");
  const { status, message } = await Promise.race([
    ended, new Promise((resolve) => setTimeout(() => resolve({ status: "timeout", message: "" }), 240000)),
  ]);
  return { status, message, images, before, after: (await app.graphToPrompt()).output };
}
