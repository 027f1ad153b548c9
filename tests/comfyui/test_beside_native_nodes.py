"""The pack beside native nodes in a real ComfyUI: nothing of either changes by the other."""

from __future__ import annotations

from pathlib import Path

from .inside import needs_comfyui, run_inside

pytestmark = needs_comfyui

NATIVE = """
import types

def attributes():
    \"\"\"The identity of every attribute of ComfyUI's modules and of the classes in them.\"\"\"
    found = {}
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] not in {"comfy", "comfy_execution", "folder_paths", "nodes", "latent_preview", "server"}:
            continue
        for key, value in vars(module).items():
            if isinstance(value, (types.FunctionType, type)):
                found[f"{name}.{key}"] = id(value)
            if isinstance(value, type) and value.__module__ == name:
                found.update({f"{name}.{key}.{k}": id(v) for k, v in vars(value).items() if callable(v)})
    return found

SMALL = dict(image_size=32, in_channels=4, out_channels=4, num_res_blocks=[1, 1], channel_mult=(1, 2),
             use_spatial_transformer=True, transformer_depth=[0, 1], transformer_depth_output=[0, 0, 1, 1],
             transformer_depth_middle=1, legacy=False, dtype=torch.float32, use_temporal_attention=False)
OF_SD15 = dict(model_channels=32, num_heads=2, num_head_channels=-1, context_dim=16, adm_in_channels=None,
               use_linear_in_transformer=False)
OF_SDXL = dict(model_channels=64, num_heads=-1, num_head_channels=64, context_dim=32, adm_in_channels=2816,
               use_linear_in_transformer=True, num_classes="sequential")
POOLED = 1280

def small(name, config):
    \"\"\"A network of ComfyUI's own classes for SD15 or SDXL, narrow and shallow, with random weights.\"\"\"
    import comfy.supported_models

    torch.manual_seed(0)
    declared = getattr(comfy.supported_models, name)(SMALL | config)
    declared.set_inference_dtype(torch.float32, None)
    model = declared.get_model({}, "").eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return comfy.model_patcher.ModelPatcher(model, management.get_torch_device(), torch.device("cpu"))

def native():
    \"\"\"Digests of what the node KSampler makes with a small SD 1.5 and a small SDXL network.\"\"\"
    made = []
    with torch.inference_mode():
        for name, config in (("SD15", OF_SD15), ("SDXL", OF_SDXL)):
            width = config["context_dim"]
            sides = [[[torch.full((1, 77, width), value), {"pooled_output": torch.full((1, POOLED), value)}]]
                     for value in (0.3, -0.2)]
            latent = {"samples": torch.zeros(1, 4, 8, 8)}
            (done,) = nodes.KSampler().sample(small(name, config), 3, 3, 5.0, "euler", "normal", *sides, latent)
            made.append(digest(done["samples"]))
    return made
"""


def test_neither_changes_the_other(tmp_path: Path) -> None:
    code = """
first = native()
graph = workflow("text-to-image-lightning", seed=5)
before = attributes()
load_pack()
imported = attributes()
ours = drawn(graph)
ran = attributes()
changed = sorted(k for k in before if not before[k] == imported.get(k) == ran.get(k))
answer({"native": [first, native()], "ours": [ours, drawn(graph)], "changed": changed, "count": len(before)})
"""
    found = run_inside(tmp_path, NATIVE + code)
    assert found["count"] > 1000
    assert found["changed"] == []
    assert found["native"][0] == found["native"][1]
    assert found["ours"][0] == found["ours"][1]
    assert len(set(found["native"][0])) == 2
    alone = run_inside(tmp_path, 'load_pack()\nanswer(drawn(workflow("text-to-image-lightning", seed=5)))\n')
    assert alone == found["ours"][0]
    without_the_pack = run_inside(tmp_path, NATIVE + "answer(native())\n")
    assert without_the_pack == found["native"][0]


def test_folders_of_our_own_list_only_files_of_their_kind(tmp_path: Path) -> None:
    code = """
load_pack()
for name in ("mine.onnx", "notes.txt"):
    path = Path(base) / "models" / "face_detection" / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
choices = nodes.NODE_CLASS_MAPPINGS["FooocusFaceCrop"].INPUT_TYPES()["optional"]["detector_name"][0]
answer([choices, folder_paths.get_filename_list("face_detection")])
"""
    choices, listed = run_inside(tmp_path, code)
    assert choices == ["auto", "mine.onnx", "pocket"]
    assert listed == ["mine.onnx"]


def test_previews_have_the_requested_size_at_every_step(tmp_path: Path) -> None:
    code = """
load_pack()
seen = []
hook = lambda value, total, preview, node_id=None: seen.append((value, total, preview))
comfy.utils.set_progress_bar_global_hook(hook)
done, _ = results(workflow("text-to-image-lightning", seed=5), "FooocusSampler")
answer([[value, total, preview[2]] for value, total, preview in seen if preview])
"""
    seen = run_inside(tmp_path, code, "--preview-method", "auto", "--preview-size", "96")
    assert seen == [[i + 1, len(seen), 96] for i in range(len(seen))]
    assert len(seen) >= 4


def test_an_interrupted_run_stops_within_a_step_and_leaves_everything_as_it_was(tmp_path: Path) -> None:
    code = """
load_pack()
graph = workflow("text-to-image-lightning", seed=5)
before, steps = drawn(graph), []

def hook(value, total, preview, node_id=None):
    steps.append(value)
    if value == 2:
        management.interrupt_current_processing()

comfy.utils.set_progress_bar_global_hook(hook)
try:
    results(graph)
    stopped = False
except management.InterruptProcessingException:
    stopped = True
comfy.utils.set_progress_bar_global_hook(None)
answer({"stopped": stopped, "last": steps[-1], "same": drawn(graph) == before})
"""
    found = run_inside(tmp_path, code)
    assert found == {"stopped": True, "last": 2, "same": True}


def test_the_nodes_for_runs_without_comfyui_do_what_those_of_comfyui_do(tmp_path: Path) -> None:
    code = """
load_pack()
ours = pack_module("nodes.headless_tensors").TENSOR_NODES
latent = {"samples": torch.rand(2, 4, 6, 10), "noise_mask": torch.rand(2, 1, 48, 80), "batch_index": [5, 7]}
one, other = ([[torch.rand(1, 77, 8), {"pooled_output": torch.rand(1, 4)}]] for _ in range(2))
calls = [("ConditioningCombine", {"conditioning_1": one, "conditioning_2": other}),
         ("ConditioningSetAreaPercentage", dict(conditioning=one, width=0.5, height=1.0, x=0.25, y=0.0, strength=0.8)),
         ("RepeatLatentBatch", {"samples": latent, "amount": 3}),
         *(("LatentUpscaleBy", dict(samples=latent, upscale_method=how, scale_by=by))
           for how in ("nearest-exact", "bilinear", "area", "bicubic") for by in (1.5, 0.55))]

def plain(value):
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, (list, tuple)) else value

apart = []
for name, inputs in calls:
    results = [getattr(cls(), cls.FUNCTION)(**inputs) for cls in (nodes.NODE_CLASS_MAPPINGS[name], ours[name])]
    if plain(results[0]) != plain(results[1]):
        apart.append([name, str(inputs)])
answer({"calls": len(calls), "nodes": len(ours), "apart": apart})
"""
    found = run_inside(tmp_path, code)
    assert found["apart"] == []
    assert (found["calls"], found["nodes"]) == (11, 4)
