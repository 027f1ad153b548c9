// The setting that serves the hosted endpoints inside ComfyUI. ComfyUI reads it when it starts.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

const ID = "FooocusStages.Serve.Endpoints";
const TITLE = "Fooocus Stages";

function say(severity, detail) {
  app.extensionManager.toast.add({ severity, summary: TITLE, detail, life: 15000 });
}

async function served() {
  try {
    return (await fetch(api.fileURL("/fal/health"))).ok;
  } catch {
    return false;
  }
}

app.registerExtension({
  name: "fooocusstages.endpoints",
  settings: [
    {
      id: ID,
      name: "Answer requests to the hosted endpoints at /fal/",
      category: [TITLE, "Endpoints", "Serve"],
      type: "combo",
      options: [
        { text: "Off", value: "off" },
        { text: "On", value: "on" },
        { text: "On, without the safety checker", value: "unchecked" },
      ],
      defaultValue: "off",
      tooltip:
        "Read when ComfyUI starts: restart it after a change. The variable FOOOCUS_STAGES_SERVE, where it is set, counts " +
        "in place of this setting and takes further options. Needs the packages of fooocus-stages[serve]; an API key if " +
        "ComfyUI listens to other machines. See docs/serving.md of the pack.",
      onChange(value, before) {
        if (before !== undefined && before !== value) {
          say("info", `Restart ComfyUI: its endpoints are ${value === "off" ? "off" : "on"} after that.`);
        }
      },
    },
  ],
  async setup() {
    if (app.extensionManager.setting.get(ID) !== "off" && !(await served())) {
      say("warn", "The endpoints are switched on in the settings and not served: restart ComfyUI, or see why in its log.");
    }
  },
});
