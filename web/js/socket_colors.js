// Colours of the pack's own sockets and wires. ComfyUI's palettes know only ComfyUI's types.
import { app } from "../../../scripts/app.js";

const COLORS = {
  FOOOCUS_MODEL: "#b39ddb",
  FOOOCUS_CLIP: "#ffd500",
  FOOOCUS_VAE: "#ff6e6e",
  FOOOCUS_LORAS: "#c2a5ff",
  FOOOCUS_PROMPT: "#77dd99",
  FOOOCUS_INFO: "#9aa5b1",
  FOOOCUS_SETTINGS: "#f0a860",
  FOOOCUS_REFINER: "#d4b6ff",
  FOOOCUS_CONTROL: "#00d78d",
  FOOOCUS_CONTROLNET: "#6ee7b7",
  FOOOCUS_IMAGE_PROMPT_MODEL: "#5bc0de",
  FOOOCUS_INPAINT: "#e8a0bf",
  FOOOCUS_UPSCALER: "#8fb8ff",
};

// Types of sockets that take a type of ComfyUI as well; their wires carry both names. They have the color of the first.
const PAIRS = [
  "FOOOCUS_MODEL,MODEL",
  "FOOOCUS_CLIP,CLIP",
  "FOOOCUS_VAE,VAE",
  "FOOOCUS_REFINER,MODEL",
  "FOOOCUS_UPSCALER,UPSCALE_MODEL",
  "MASK,IMAGE",
];

// Loading a palette clears the colours of types that it does not know, so they are set again with nodes and graphs.
function setColors() {
  const links = app.canvas.constructor.link_type_colors;
  const sockets = app.canvas.default_connection_color_byType;
  if (links.FOOOCUS_MODEL === COLORS.FOOOCUS_MODEL) return;
  for (const [type, color] of Object.entries(COLORS)) {
    links[type] = sockets[type] = color;
    document.documentElement.style.setProperty(`--color-datatype-${type}`, color);
  }
  for (const pair of PAIRS) {
    const [first] = pair.split(",");
    links[pair] = links[first];
    sockets[pair] = sockets[first];
  }
}

app.registerExtension({
  name: "fooocusstages.socket_colors",
  nodeCreated: setColors,
  afterConfigureGraph: setColors,
});
