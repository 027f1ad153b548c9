"""Our networks under the memory manager of a real ComfyUI, with its figures made small."""

from __future__ import annotations

from pathlib import Path

import pytest

from .inside import needs_comfyui, run_inside

pytestmark = needs_comfyui

SMALL_CARD = """
# A device with `room` bytes, as the memory manager sees it; the arithmetic is the CPU's.
card, room = torch.device("cpu", 0), 10**12
FLOOR = 128 * 2**20  # bytes that 0.3.64 gives to any network, which is more than these have

def used():
    return sum(loaded.model_loaded_memory() for loaded in management.current_loaded_models)

def free(dev=None, torch_free_too=False):
    return (room - used(), room - used()) if torch_free_too else room - used()

management.get_torch_device = management.text_encoder_device = management.vae_device = lambda: card
management.is_device_cpu = lambda device: False
management.get_free_memory = free
management.minimum_inference_memory = management.extra_reserved_memory = lambda: 0
management.MIN_WEIGHT_MEMORY_RATIO = 0.0
management.max = lambda *values: max(value for value in values if value != FLOOR)
management.soft_empty_cache = lambda force=False: None
management.lowvram_available = True
management.vram_state = management.VRAMState.NORMAL_VRAM

load_pack()
streaming = pack_module("nodes.comfy.streaming")
copies, most = 0, 0
on_target = streaming._on_target

def watched(value):
    global copies, most
    copies += isinstance(value, streaming.Streamed)
    most = max(most, used())
    return on_target(value)

streaming._on_target = watched
graph = workflow("text-to-image-lightning", seed=5)
"""


@pytest.mark.parametrize(
    ("state", "flags"),
    [("NORMAL_VRAM", ()), ("LOW_VRAM", ()), ("NO_VRAM", ()), ("NORMAL_VRAM", ("--disable-smart-memory",))],
)
def test_networks_load_by_layer_where_memory_is_short_and_draw_the_same(
    tmp_path: Path, state: str, flags: tuple[str, ...]
) -> None:
    code = (
        f"state = management.VRAMState.{state}"
        + """
done, last = results(graph)
whole = digest(done[last][0])
copies_of_whole = copies
largest = max(loaded.model_memory() for loaded in management.current_loaded_models)
management.unload_all_models()
left = used()
del done
management.vram_state, room = state, largest // 2
halved = drawn(graph)
by_layer, room = copies, 10**12
management.vram_state = management.VRAMState.NORMAL_VRAM
again = drawn(graph)
answer({"whole": whole, "halved": halved, "again": again, "copies_of_whole": copies_of_whole, "left": left,
        "copies": by_layer, "copies_again": copies - by_layer, "most": most, "largest": largest})
"""
    )
    found = run_inside(tmp_path, SMALL_CARD + code, *flags)
    assert found["whole"] == found["halved"] == found["again"]
    assert found["copies_of_whole"] == found["copies_again"] == found["left"] == 0
    assert found["copies"] > 100
    assert found["most"] <= found["largest"] // 2


def test_a_native_model_loads_in_part_where_memory_is_short_and_draws_the_same(tmp_path: Path) -> None:
    """With LoRAs of ComfyUI's loader and of ours, which are applied to the layers that are not loaded as they run."""
    code = """
from comfy.patcher_extension import WrappersMP

asyncio.run(nodes.load_custom_node(str(pack / "tests" / "comfyui" / "native_pack")))
model, clip, vae = nodes.NODE_CLASS_MAPPINGS["TestNativeCheckpoint"]().run()
model.load_device, model.model.memory_usage_factor = card, 0.0
lora = comfy.utils.load_torch_file(str(pack / "pocket/models/loras/sdxl_lcm_lora.safetensors"))
model, _ = comfy.sd.load_lora_for_models(model, None, lora, 0.5, 0.0)
seen = []

def watch(execute, *given, **named):
    seen.append((model.model.model_loaded_weight_memory, model.model.lowvram_patch_counter))
    return execute(*given, **named)

model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "watch", watch)

class Given:
    FUNCTION = "run"

    def run(self):
        return model, clip, vae

nodes.NODE_CLASS_MAPPINGS["Given"] = Given
graph = workflow("native-model-fooocus-sampler", aspect_ratio="custom", width=128, height=128, overwrite_step=2)
sampler = next(node for node in graph.values() if node["class_type"] == "FooocusSampler")
graph["1"] = {"class_type": "Given", "inputs": {}}
graph["lora"] = {"class_type": "FooocusLora", "inputs": {"lora_name": "pocket/sdxl_lightning_4step_lora.safetensors",
                                                         "weight": 0.5}}
graph["changed"] = {"class_type": "FooocusApplyLoras", "inputs": {"model": ["1", 0], "clip": ["1", 1],
                                                                  "loras": ["lora", 0]}}

def sampled():
    done, last = results(graph, "FooocusSampler")
    return done[last][0]["samples"], seen[-1]

plain, _ = sampled()
sampler["inputs"]["model"] = ["changed", 0]
whole, fully = sampled()
management.unload_all_models()
room = model.model_size() // 2
halved, partly = sampled()
room = 10**12
again, _ = sampled()
answer({"size": model.model_size(), "fully": fully, "partly": partly, "whole": digest(again) == digest(whole),
        "difference": float((halved - whole).norm() / whole.norm()),
        "effect": float((plain - whole).norm() / whole.norm())})
"""
    found = run_inside(tmp_path, SMALL_CARD + code)
    print(found)
    assert found["fully"] == [found["size"], 0]
    assert 0 < found["partly"][0] <= found["size"] // 2
    assert found["partly"][1] > 10
    assert found["whole"]
    assert found["difference"] < 1e-4 < found["effect"]


def test_a_network_of_sdxl_size_stays_within_a_card_of_4_gb(tmp_path: Path) -> None:
    """Weights and activations without values, on the device `meta`: the sizes are real, and the test is small."""
    code = """
from diffusers import UNet2DConditionModel

card, room, inference = torch.device("meta"), 4 * 2**30, 2**30
management.minimum_inference_memory = lambda: inference
management.unet_offload_device = lambda: card
with card:
    unet = UNet2DConditionModel(
        block_out_channels=(320, 640, 1280), down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * 2),
        up_block_types=(*["CrossAttnUpBlock2D"] * 2, "UpBlock2D"), transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20), cross_attention_dim=2048, use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
    ).half().eval().requires_grad_(False)

streamed, most = 0, 0
bytes_of = streaming.bytes_of

def counted(cls, func, types, args=(), kwargs=None):
    global streamed, most
    given = (*args, *(kwargs or {}).values())
    values = [v for arg in given for v in (arg if isinstance(arg, (list, tuple)) else [arg])]
    with torch._C.DisableTorchFunctionSubclass():
        copied = sum(bytes_of(v) for v in values if isinstance(v, streaming.Streamed))
    if func != streaming.DEVICE and func.__name__ not in (*streaming.PROPERTIES, *streaming.METADATA):
        streamed += copied
        most = max(most, used() + copied)
    return plain(func, types, args, kwargs)

plain = streaming.Streamed.__torch_function__
streaming.Streamed.__torch_function__ = classmethod(counted)
host = pack_module("nodes.comfy.host").ComfyHost()

def step(side):
    latents = torch.empty(2, 4, side // 8, side // 8, dtype=torch.half, device=card)
    text = torch.empty(2, 77, 2048, dtype=torch.half, device=card)
    added = {"text_embeds": torch.empty(2, 1280, dtype=torch.half, device=card),
             "time_ids": torch.empty(2, 6, dtype=torch.half, device=card)}
    return unet(latents, torch.empty(2, device=card), text, added_cond_kwargs=added).sample.shape

with torch.inference_mode():
    host.load("unet", unet)
    shape = list(step(1024))
whole = sum(bytes_of(p) for p in unet.parameters())
answer({"whole": whole, "resident": used(), "streamed": streamed, "most": most, "room": room - inference,
        "shape": shape})
"""
    found = run_inside(tmp_path, SMALL_CARD + code)
    print(found)
    assert found["shape"] == [2, 4, 128, 128]
    assert found["whole"] > found["room"] > found["resident"] > 0
    assert found["streamed"] == found["whole"] - found["resident"]
    assert found["most"] <= found["room"] + found["whole"] // 100


def test_a_dropped_model_is_freed_without_a_garbage_collection(tmp_path: Path) -> None:
    code = """
load_pack()
graph = workflow("image-prompt")
drawn(graph)
gc.collect()
gc.disable()
done, _ = results(graph)
held = [weakref.ref(m) for patcher in management.loaded_models() for m in patcher.model.modules()]
loaded = len(management.current_loaded_models)
del done
alive = sorted({type(m()).__name__ for m in held if m() is not None})
answer({"held": len(held), "loaded": loaded, "alive": alive, "left": len(management.current_loaded_models)})
"""
    found = run_inside(tmp_path, code)
    assert found["held"] > 100
    assert found["loaded"] >= 3
    assert found["alive"] == []
    assert found["left"] == 0


def test_the_cache_sees_the_patchers_of_our_handles(tmp_path: Path) -> None:
    code = """
load_pack()
loaded, last = results(workflow("text-to-image-lightning"), "FooocusLoadCheckpoint")
seen = [isinstance(getattr(value, "patcher", None), comfy.model_patcher.ModelPatcher) for value in loaded[last]]
others = {}
for name, files in {"FooocusLoadUpscaler": ["upscaler_name"], "FooocusLoadRefiner": ["refiner_name"],
                    "FooocusLoadImagePrompt": ["adapter_name", "clip_vision_name", "negative_name"]}.items():
    cls = nodes.NODE_CLASS_MAPPINGS[name]
    (value, *_) = cls().run(**dict.fromkeys(files, "pocket"))
    others[name] = isinstance(value.patcher, comfy.model_patcher.ModelPatcher)
answer({"seen": seen, "others": others})
"""
    found = run_inside(tmp_path, code)
    assert found["seen"] == [True, True, True]
    assert all(found["others"].values()), found


def test_a_native_upscale_model_is_loaded_through_its_own_patcher(tmp_path: Path) -> None:
    code = """
load_pack()
from spandrel.architectures.ESRGAN import ESRGANArch
from spandrel.architectures.ESRGAN.__arch.RRDB import RRDBNet
torch.manual_seed(0)
native = ESRGANArch().load(RRDBNet(num_filters=8, num_blocks=1, scale=2).state_dict()).eval()
device = management.get_torch_device()
native.patcher = comfy.model_patcher.ModelPatcher(native.model, device, management.unet_offload_device())
with torch.inference_mode():
    image = torch.rand(1, 16, 16, 3)
    (large,) = nodes.NODE_CLASS_MAPPINGS["FooocusUpscaleImage"]().run(image=image, upscaler=native, factor=0.0)
records = [loaded.model is native.patcher for loaded in management.current_loaded_models]
own = "patcher" in vars(native.model)
answer({"size": list(large.shape), "records": records, "own": own})
"""
    found = run_inside(tmp_path, code)
    assert found["size"] == [1, 32, 32, 3]
    assert found["records"] == [True]
    assert not found["own"]
