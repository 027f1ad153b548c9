"""Words that surround a caption in real prompts: qualities, styles, media, and typical negative prompts.

The model learns to ignore them. The tokenizer is learned from them as well, so that common words are one token.
"""

from __future__ import annotations

import json
import re

import numpy as np

from ...pipelines.text.styles import HERE
from . import draw

QUALITIES = """
highly detailed, very detailed, intricate details, sharp focus, crisp, high quality, best quality,
masterpiece, high resolution, 4k, 8k, uhd, hdr, professional, award winning, stunning, beautiful, gorgeous,
elegant, perfect, amazing, epic, dramatic, dynamic, vivid, vibrant, colorful, saturated, subtle, soft, smooth,
clean, simple, minimal, complex, ornate, rich, deep, bold, striking, magical, mystical, mysterious, dreamy,
ethereal, surreal, fantastic, majestic, glorious, luxurious, precise, symmetrical, balanced, harmonious, rule
of thirds, strong composition, great composition, fine details, cinematic, cinematic light, volumetric light,
natural light, ambient light, studio light, soft light, rim light, glowing, shining, bright, dark, moody, warm
tones, cool tones, pastel, monochrome, high contrast, low contrast, depth of field, bokeh, shallow focus, wide
angle, close up, long shot, macro, full body, portrait, landscape, texture, realistic, photorealistic,
hyperrealistic, lifelike, accurate, crystal clear, flawless, refined, polished, creative, inspired, unique,
original, expressive, atmospheric, innocent, peaceful, calm, quiet, joyful, bright mood, thoughtful, charming,
attractive, cute, cool, nice, artistic, thoughtful composition, clear focal point, balanced contrast, layered
depth, delicate detail, coherent light, subtle colour harmony, quiet background, convincing materials,
graceful lines, expressive mood, fine texture, gentle highlights, deep shadows, elegant proportions, lively
gesture, fresh air, polished finish, natural rhythm
"""

MEDIA = """
photograph, photo, film photograph, 35mm film, analog film, grainy film, kodak, polaroid, cinematic still,
movie still, film grain, vintage, retro, oil painting, watercolor, ink drawing, pencil sketch, charcoal, line
art, digital art, digital painting, concept art, illustration, vector art, flat design, pixel art, low poly,
3d render, octane render, unreal engine, ray tracing, clay, origami, paper cut, stained glass, mosaic,
embroidery, sticker, logo, icon, poster, comic book, graphic novel, anime, manga, cartoon, fantasy art,
science fiction, cyberpunk, steampunk, gothic, art deco, art nouveau, pop art, cubism, impressionist,
expressionist, minimalism, baroque, renaissance, abstract, geometric, isometric, infographic, architecture,
product photo, fashion, editorial, advertising, food, still life, nature, wildlife, forest, ocean, mountain,
sky, clouds, sunset, night, city, street, garden, river, snow, rain, space, planet, stars in the sky, flowers,
animals, cat, dog, horse, bird, fish, tree, house, castle, car, robot, dragon, man, woman, girl, boy, child,
people, face, eyes, hair, hands, dress, jewelry, glass, metal, wood, stone, gold, silver, fabric, water, fire,
smoke, light, shadow, energy, color grading, shot on camera, game art, trending, style of a famous painter, by
a great artist, museum piece, ultra, dslr, lens, exposure, flash, hour
"""

FORBIDDEN = """
low quality, worst quality, lowres, blurry, blur, noise, noisy, grainy, jpeg artifacts, compression, ugly,
bad, deformed, disfigured, distorted, mutated, mutation, extra limbs, missing limbs, extra fingers, bad
anatomy, bad hands, poorly drawn, amateur, boring, cropped, out of frame, watermark, signature, text, letters,
username, error, duplicate, morbid, dull, faded, overexposed, underexposed, oversaturated, unrealistic,
cartoon, anime, painting, drawing, sketch, photo, photorealistic, 3d, render, plastic, messy, chaotic, dirty,
broken, unfinished, glitch, lowpoly, mangled, weird, nude, naked, nsfw, child, old, signature text, logo,
frame, border, collage, tiling, gross proportions, malformed, cloned face, long neck, washed out, bad
composition, bad proportions, disgusting, sloppy, failed, beginner
"""

FRAMES = (
    "{}",
    "{}",
    "{}",
    "{} , {more}",
    "{more}, {}",
    "{more} {} . {more}",
    "{}, {more}, {more}",
    "{more} of {}, {more}",
    "{more} style {} . {more}",
    "breathtaking {} . {more}",
    "{}, {more}",
    "{}. {more}",
)


def phrases(text: str) -> list[str]:
    """Return the comma-separated phrases of a block."""
    return [" ".join(p.split()) for p in text.split(",")]


def style_phrases(field: str) -> list[str]:
    """Return the phrases of the pack's own styles, of prompts or negative prompts, without the placeholder."""
    styles = [s for file in sorted(HERE.glob("*_styles.json")) for s in json.loads(file.read_text("utf-8"))]
    texts = [re.sub(r"\{prompt\}|[():\d.]", "", style.get(field, "")) for style in styles]
    return [phrase for text in texts for phrase in phrases(text) if phrase]


def without_world(texts: list[str]) -> list[str]:
    """Return the phrases that name no colour, shape or pattern, so that filler never contradicts a caption."""
    world = {*draw.COLOURS, *draw.SHAPES, *draw.PATTERNS, "stars"}
    return [text for text in texts if not world & set(text.split())]


POSITIVE_FILLER = without_world(phrases(QUALITIES) + phrases(MEDIA) + style_phrases("prompt"))
NEGATIVE_FILLER = without_world(phrases(FORBIDDEN) + style_phrases("negative_prompt"))


def filler(rng: np.random.Generator, pool: list[str], most: int = 10) -> str:
    """Return one to `most` random phrases of the pool, sometimes without commas."""
    picks = [pool[i] for i in rng.integers(len(pool), size=int(rng.integers(1, most + 1)))]
    return (", " if rng.random() < 0.8 else " ").join(picks)


def wrap(text: str, rng: np.random.Generator, most: int = 5) -> str:
    """Put the text into one of the frames that styles use around a prompt."""
    frame = FRAMES[int(rng.integers(len(FRAMES)))]
    pieces = frame.split("{more}")
    wrapped = pieces[0] + "".join(filler(rng, POSITIVE_FILLER, most) + piece for piece in pieces[1:])
    return wrapped.replace("{}", text)
