"""Captions in many wordings, English and Chinese, and the styles each one asks for.

A caption's meaning is a weight for every style plus one for the photo unchanged; weights sum to 1.
"a light touch of watercolour" is half watercolour, half photo; "half ink, half neon" is what it says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# The first English name is the one that is shown to people; so is the first Chinese one.
NAMES: dict[str, tuple[list[str], list[str]]] = {
    "pencil": (
        ["pencil sketch", "sketch", "pencil drawing", "charcoal drawing", "charcoal", "graphite drawing",
         "line drawing", "hand drawn sketch", "black and white drawing", "crayon sketch", "drawing",
         "chalk drawing", "draft", "sketchbook", "pencil", "graphite", "line art", "sketched", "doodle"],
        ["铅笔素描", "素描", "速写", "炭笔画", "铅笔画", "线稿", "手绘草图", "线描", "黑白素描", "石墨画", "草图"],
    ),
    "watercolour": (
        ["watercolour", "watercolor", "watercolour painting", "watercolor painting", "aquarelle", "wash painting",
         "wet watercolour", "soft watercolor wash", "water color", "water colour", "gouache", "pastel wash",
         "watercolours", "watercolors", "loose watercolour illustration"],
        ["水彩画", "水彩", "透明水彩", "水彩风格", "水彩插画", "淡彩", "水粉画", "湿画法水彩"],
    ),
    "oil": (
        ["oil painting", "oil", "oil on canvas", "oil paint", "thick oil painting", "impasto", "palette knife",
         "old master painting", "oils", "classical painting", "acrylic painting", "painted in oils",
         "thick brush strokes", "rembrandt", "canvas painting", "baroque painting"],
        ["油画", "厚涂油画", "布面油画", "古典油画", "油彩", "厚涂", "刮刀油画", "丙烯画", "油画笔触"],
    ),
    "comic": (
        ["comic book", "comic", "cartoon", "toon", "cel shading", "cel shaded", "anime", "manga in colour",
         "graphic novel", "comics", "animated film", "cartoon drawing", "bold outlines", "comic strip",
         "animation", "toon shading"],
        ["漫画", "卡通", "动漫", "动画", "卡通风格", "美式漫画", "连环画", "赛璐璐", "彩色漫画"],
    ),
    "halftone": (
        ["halftone print", "halftone", "newspaper print", "newsprint", "dots", "dotted print", "black dots",
         "screen dots", "half tone", "ben day dots", "old newspaper", "printed dots", "raster dots", "stippling"],
        ["半色调", "网点", "报纸印刷", "网点印刷", "半调", "旧报纸", "圆点印刷", "点阵印刷"],
    ),
    "ink_wash": (
        ["ink wash", "ink wash painting", "sumi-e", "sumi e", "chinese ink painting", "chinese painting", "ink painting",
         "ink", "shuimo", "brush and ink", "zen ink", "japanese ink painting", "black ink", "india ink",
         "chinese brush painting", "ink brush", "calligraphy ink"],
        ["水墨画", "水墨", "国画", "中国画", "泼墨", "写意水墨", "毛笔画", "墨色山水", "中国风水墨", "墨"],
    ),
    "neon": (
        ["neon lights", "neon", "neon glow", "neon outlines", "glowing edges", "cyberpunk neon", "cyberpunk",
         "neon sign", "glowing lines", "synthwave", "laser light", "luminous outlines", "light tubes", "tron",
         "night glow", "vaporwave neon", "electric"],
        ["霓虹", "霓虹灯", "赛博朋克", "发光线条", "霓虹发光", "荧光轮廓", "霓虹边缘", "电光"],
    ),
    "ukiyo_e": (
        ["ukiyo-e", "ukiyo-e woodblock print", "ukiyo e", "ukiyoe", "woodblock print", "japanese woodblock print",
         "japanese print", "hokusai", "hiroshige", "edo print", "woodcut", "edo period", "old japanese print",
         "utamaro", "wood block", "woodblock", "block print"],
        ["浮世绘", "木版画", "日本版画", "葛饰北斋", "北斋", "歌川广重", "江户版画", "日式版画", "和风版画"],
    ),
    "pixel_art": (
        ["pixel art", "pixel", "8-bit", "8 bit", "16 bit", "retro video game", "pixelated", "pixels", "mosaic",
         "low resolution game", "lego", "minecraft", "arcade game", "sprite", "blocks", "blocky"],
        ["像素画", "像素", "像素艺术", "像素风", "复古游戏", "马赛克", "八位机", "方块", "红白机游戏"],
    ),
    "blueprint": (
        ["blueprint", "technical drawing", "architect's plan", "cyanotype", "white lines on blue", "engineering drawing",
         "construction plan", "blue print", "draftsman's drawing", "schematic", "technical blueprint", "cad drawing",
         "architectural drawing", "plan"],
        ["蓝图", "工程图", "蓝晒", "建筑图纸", "设计图", "技术图纸", "施工图", "蓝底白线"],
    ),
    "pop_art": (
        ["pop art", "warhol", "andy warhol", "screen print", "silkscreen", "pop", "posterized", "poster print",
         "silk screen print", "four colour print", "bright poster", "serigraph", "lichtenstein poster", "sixties poster",
         "popart", "poster"],
        ["波普艺术", "波普", "丝网印刷", "安迪沃霍尔", "沃霍尔", "海报", "波普风格", "丝网版画", "撞色海报"],
    ),
    "van_gogh": (
        ["Van Gogh", "vincent van gogh", "starry night", "the starry night", "vangogh", "gogh",
         "swirling blue and yellow", "vincent", "post-impressionist night", "post impressionism"],
        ["梵高", "梵高星空", "星空", "星月夜", "文森特梵高", "梵谷", "后印象派"],
    ),
    "munch": (
        ["Munch", "edvard munch", "the scream", "scream", "expressionist", "expressionism", "burning red sky",
         "edvard", "orange and dark green", "norwegian expressionist"],
        ["蒙克", "呐喊", "爱德华蒙克", "表现主义", "蒙克呐喊"],
    ),
    "monet": (
        ["Monet", "claude monet", "water lilies", "impressionist", "impressionism", "giverny", "impressionist garden",
         "monet's garden", "claude", "french impressionist", "violet and green", "renoir"],
        ["莫奈", "睡莲", "印象派", "克劳德莫奈", "莫奈睡莲", "印象主义"],
    ),
    "kandinsky": (
        ["Kandinsky", "wassily kandinsky", "composition vii", "abstract expressionism", "abstract", "abstract painting",
         "abstract art", "wassily", "vasily kandinsky", "colourful abstract", "colorful abstraction"],
        ["康定斯基", "抽象画", "抽象", "抽象主义", "瓦西里康定斯基", "抽象艺术"],
    ),
    "hoitsu": (
        ["Sakai Hoitsu", "hoitsu", "rinpa", "rimpa", "gold leaf", "golden screen", "gold leaf painting", "sakai",
         "japanese gold screen", "gilded", "gold", "golden painting", "gilt"],
        ["酒井抱一", "琳派", "金箔画", "金箔", "金屏风", "金色屏风", "金碧"],
    ),
    "mondrian": (
        ["Mondrian", "piet mondrian", "cubist grid", "cubism", "cubist", "de stijl", "piet", "black lines and pale planes",
         "neoplasticism", "grid of lines", "geometric abstraction"],
        ["蒙德里安", "立体主义", "立体派", "彼得蒙德里安", "风格派", "几何抽象"],
    ),
}  # fmt: skip
STYLES = list(NAMES)
PHOTO = "photo"
MEANINGS = [*STYLES, PHOTO]

_PHOTO = (["photo", "photograph", "no style", "unchanged", "original video", "realistic photo", "keep it as it is",
           "raw footage", "photorealistic", "natural"],
          ["照片", "原图", "原视频", "不变", "写实照片", "真实"])  # fmt: skip
_SUBJECTS = (
    ["a dog", "a cat", "a woman", "a man", "a street", "mountains", "the sea", "a city", "a portrait", "flowers",
     "a car", "a forest", "people walking", "a house", "my video", "the scene", "a river", "the sky", "a bird",
     "a child", "a face", "trees", "a table", "a landscape", "everything", "an insect", "a dancer", "traffic"],
    ["狗", "猫", "女人", "男人", "街道", "山", "大海", "城市", "人像", "花", "汽车", "森林", "行人", "房子",
     "视频", "画面", "河流", "天空", "鸟", "孩子", "人脸", "风景"],
)  # fmt: skip
_PLAIN = (
    ["{s}", "{s}", "{s}", "{s} style", "in the style of {s}", "a {s}", "{x}, {s}", "{s} of {x}", "a {s} of {x}",
     "{x} in {s} style", "{x} as {s}", "make it {s}", "turn it into {s}", "make it look like {s}", "beautiful {s}",
     "in {s}", "{s} by a master", "painted like {s}", "{s} artwork", "{s}, highly detailed", "style of {s}",
     "{x} painted by {s}", "by {s}", "an artwork in {s} style, masterpiece", "{s} effect", "{s} look",
     "convert {x} to {s}", "like a {s}", "a very {s} picture", "strong {s}"],
    ["{s}", "{s}", "{s}", "{s}风格", "{s}的风格", "{s}风格的{x}", "把{x}变成{s}", "{x},{s}", "一幅{s}", "做成{s}",
     "{s}效果", "用{s}画{x}", "像{s}一样", "精美的{s}", "{x}的{s}", "转成{s}风格", "变成{s}"],
)  # fmt: skip
_LIGHT = (
    ["a light touch of {s}", "slight {s}", "subtle {s}", "a hint of {s}", "slightly {s}", "a little {s}", "faint {s}",
     "half {s}, half photo", "soft hint of {s}", "weak {s}", "gentle {s}"],
    ["淡淡的{s}", "一点{s}", "轻微的{s}", "略带{s}", "轻度{s}", "一半{s}一半照片", "稍微{s}"],
)  # fmt: skip
_HALVES = (
    ["half {s}, half {t}", "half {s} half {t}", "{s} and {t}", "{s} mixed with {t}", "a mix of {s} and {t}", "{s} + {t}",
     "a blend of {s} and {t}", "{s} meets {t}", "50% {s}, 50% {t}", "between {s} and {t}", "{s} combined with {t}"],
    ["一半{s}一半{t}", "一半{s},一半{t}", "{s}和{t}", "{s}与{t}混合", "{s}加{t}", "{s}和{t}的混合", "{s}结合{t}"],
)  # fmt: skip
_MOSTLY = (
    ["mostly {s}, some {t}", "{s} with a touch of {t}", "{s} with a hint of {t}", "{s} with a little {t}",
     "mainly {s} with some {t}", "75% {s}, 25% {t}"],
    ["{s}为主,带一点{t}", "{s}带点{t}", "主要是{s},少许{t}", "{s}里有一点{t}"],
)  # fmt: skip
_NOT = (
    ["{s}, not {t}", "{s} but not {t}", "{s} instead of {t}", "no {t}, {s}", "not {t} but {s}", "{s}, no {t}",
     "{s} rather than {t}", "{s} without any {t}", "not {t}, {s}", "no {t}, rather {s}"],
    ["{s},不是{t}", "不要{t},要{s}", "不是{t},是{s}", "{s}而不是{t}", "{s},不要{t}"],
)  # fmt: skip
_NEVER = (
    ["not {t}", "no {t}", "anything except {t}", "without {t}", "never {t}", "everything but {t}", "don't use {t}"],
    ["不要{t}", "除了{t}都行", "不是{t}", "别用{t}"],
)  # fmt: skip
# A painter's name says more than the medium.
_WORKS = (
    [
        "{w} by {s}",
        "{s} {w}",
        "a {s} {w} of {x}",
        "{w} in the style of {s}",
        "the {w} of {s}",
        "{s}, {w} of {x}",
    ],
    ["{s}的{w}", "{s}风格的{w}", "{s}{w}", "{s}的{x}{w}"],
)
_WORK = (
    [
        "painting",
        "oil painting",
        "drawing",
        "poster",
        "print",
        "pastel",
        "portrait",
        "landscape",
        "still life",
        "canvas",
        "picture",
        "sketch",
        "watercolour",
        "mural",
        "cover",
        "interior",
        "nude",
        "self portrait",
        "postcard",
        "exhibition",
    ],
    [
        "画",
        "油画",
        "素描",
        "海报",
        "版画",
        "人像",
        "肖像",
        "静物",
        "风景",
        "作品",
        "水彩画",
        "壁画",
        "自画像",
    ],
)
# What is in the picture is not this model's to change.
_CONTENT = (
    ["turn {x} into {y}", "add {x}", "remove {x}", "{x} on {y}", "make {x} bigger", "replace {x} by {y}",
     "{x} wearing {y}", "{x} and {y}", "put {x} behind {y}", "give {x} a {y}", "make {x} look like {y}",
     "{x} in the rain", "{x} holding {y}", "change the colour of {x}", "{x} flying over {y}", "more {x}"],
    ["把{x}变成{y}", "加上{x}", "去掉{x}", "{x}和{y}", "在{x}上放{y}", "让{x}变大", "{x}骑着{y}", "更多{x}"],
)  # fmt: skip
_THINGS = (
    ["a hat", "a pirate", "the moon", "a zebra", "snow", "a soldier", "glasses", "a guitar", "an elephant", "fire",
     "a wizard", "the president", "a bicycle", "a beard", "clouds", "a ship", "an umbrella", "a butterfly", "a knight",
     "a lion", "a cup of coffee", "the background", "her hair", "his shirt", "a dinosaur", "a train", "wings", "an apple"],
    ["帽子", "海盗", "月亮", "斑马", "雪", "士兵", "吉他", "大象", "火", "巫师", "自行车", "胡子", "云", "船", "雨伞",
     "蝴蝶", "骑士", "狮子", "咖啡", "背景", "头发", "衬衫", "恐龙", "火车", "翅膀", "苹果"],
)  # fmt: skip
_UNKNOWN = (
    ["hello world", "quarterly report", "a nice day", "the quick brown fox", "please subscribe", "lorem ipsum",
     "make it good", "happy birthday", "football match", "my cat", "steampunk", "underwater", "winter",
     "cinematic lighting", "bokeh", "sad", "spicy noodles", "jazz", "spaceship", "vintage", "wedding", "horror film",
     "renaissance", "moonlight", "fast", "cheese", "page", "study", "quick", "delicate", "village", "horse", "please",
     "marilyn", "airship", "screen", "manner", "shapes", "texture", "master", "modern", "old", "new", "large", "small",
     "very detailed", "4k", "trending", "sunset", "kitchen", "bicycle", "rain", "smile", "dancing", "music", "story",
     "poem", "school", "ocean waves", "democracy", "a dog on the beach", "two people talking", "zombie", "robot",
     "dreamy", "epic", "claymation", "picasso", "felt", "origami", "sepia", "sculpture",
     "graffiti", "marble statue", "hdr photo", "drone footage", "slow motion"],
    ["你好", "今天天气很好", "生日快乐", "一只狗在海边", "吃饭", "快一点", "蒸汽朋克", "冬天", "恐怖片", "机器人",
     "好看一点", "电影感", "质感的人像", "街道", "山水", "花园", "夜景", "小狗", "一张", "快速", "高清", "细节丰富",
     "老人", "村庄", "足球", "太空"],
)  # fmt: skip


@dataclass(frozen=True)
class Caption:
    text: str
    weights: np.ndarray
    """(len(MEANINGS),) non-negative, sum 1; all equal when the caption asks for nothing known."""


def pick(rng: np.random.Generator, items: list[str]) -> str:
    return items[int(rng.integers(len(items)))]


def _vary(rng: np.random.Generator, text: str) -> str:
    """Letter case, a full stop, a slip of the finger: what people type."""
    u = rng.random()
    if u < 0.08:
        text = text.upper()
    elif u < 0.2:
        text = text.capitalize()
    elif u < 0.26:
        text += "."
    elif u < 0.32 and len(text) > 7 and text.isascii():
        i = int(rng.integers(1, len(text) - 1))
        text = text[:i] + text[i + 1 :]
    return text


def _nothing_known(rng: np.random.Generator, lang: int) -> str:
    """A caption that asks for no style: noise, something else in the picture, or only a refusal."""
    u = rng.random()
    if u < 0.4:
        return _noise(rng, lang)
    if u < 0.55:
        known = pick(rng, NAMES[pick(rng, STYLES)][lang])
        return pick(rng, _NEVER[lang]).format(t=known)
    if u < 0.65:
        return pick(rng, _SUBJECTS[lang])
    x, y = (pick(rng, _THINGS[lang] + _SUBJECTS[lang]) for _ in range(2))
    return pick(rng, _CONTENT[lang]).format(x=x, y=y)


def _noise(rng: np.random.Generator, lang: int) -> str:
    if lang or rng.random() < 0.6:
        return " ".join(pick(rng, _UNKNOWN[lang]) for _ in range(int(rng.integers(1, 3))))
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [
        "".join(pick(rng, list(letters)) for _ in range(int(rng.integers(2, 9)))) for _ in range(3)
    ]
    return " ".join(words[: int(rng.integers(1, 4))])


def _subject(rng: np.random.Generator, lang: int) -> str:
    """What the picture shows: half of the time words that mean no style, known or made up."""
    if rng.random() < 0.5:
        return pick(rng, _SUBJECTS[lang])
    return _noise(rng, lang)


def _wrap(rng: np.random.Generator, text: str, lang: int) -> str:
    """Sometimes with words around it that the model has never met: they should change nothing."""
    u = rng.random()
    if u < 0.12:
        return f"{text} {_noise(rng, lang)}"
    if u < 0.2:
        return f"{_noise(rng, lang)} {text}"
    return text


def about(rng: np.random.Generator, name: str, lang: int, subject: str = "") -> str:
    """A plain caption with that name in it; lang: 0 English, 1 Chinese."""
    text = pick(rng, _PLAIN[lang]).format(s=name, x=subject or _subject(rng, lang))
    return _vary(rng, _wrap(rng, text, lang))


def work(rng: np.random.Generator, name: str, lang: int, subject: str = "") -> str:
    """A caption of a work of any medium by that name."""
    form, medium = pick(rng, _WORKS[lang]), pick(rng, _WORK[lang])
    return _vary(rng, form.format(s=name, w=medium, x=subject or _subject(rng, lang)))


def but_not(rng: np.random.Generator, name: str, other: str, lang: int) -> str:
    """A caption that asks for one name and refuses another."""
    return _vary(rng, pick(rng, _NOT[lang]).format(s=name, t=other))


def halves(rng: np.random.Generator, name: str, other: str, lang: int) -> str:
    """A caption that asks for half of each."""
    return _vary(rng, pick(rng, _HALVES[lang]).format(s=name, t=other))


def never(rng: np.random.Generator, other: str, lang: int) -> str:
    """A caption that only refuses."""
    return _vary(rng, pick(rng, _NEVER[lang]).format(t=other))


def single(rng: np.random.Generator, style: int) -> Caption:
    """A plain caption of one style, by its index in STYLES."""
    lang = int(rng.random() < 0.4)
    weights = np.zeros(len(MEANINGS), np.float32)
    weights[style] = 1
    return Caption(about(rng, pick(rng, NAMES[STYLES[style]][lang]), lang), weights)


def draw(rng: np.random.Generator, unknown: float = 0.0) -> Caption:
    """A random caption: 70 % one style, the rest light touches, mixtures, the photo itself; of
    those of one style some say what it is not.
    """
    lang = int(rng.random() < 0.4)
    if rng.random() < unknown:
        share = np.full(len(MEANINGS), 1 / len(MEANINGS), np.float32)
        return Caption(_vary(rng, _nothing_known(rng, lang)), share)
    u = rng.random()
    a, b = (int(i) for i in rng.choice(len(STYLES), 2, replace=False))
    if u < 0.62:
        return single(rng, a)
    weights = np.zeros(len(MEANINGS), np.float32)
    s, t = (pick(rng, NAMES[STYLES[i]][lang]) for i in (a, b))
    x = _subject(rng, lang)
    if u < 0.7:
        text, weights[a] = pick(rng, _NOT[lang]).format(s=s, t=t), 1
    elif u < 0.8:
        text, weights[a], weights[-1] = pick(rng, _LIGHT[lang]).format(s=s), 0.5, 0.5
    elif u < 0.9:
        text, weights[a], weights[b] = pick(rng, _HALVES[lang]).format(s=s, t=t), 0.5, 0.5
    elif u < 0.96:
        text, weights[a], weights[b] = pick(rng, _MOSTLY[lang]).format(s=s, t=t), 0.75, 0.25
    else:
        text, weights[-1] = pick(rng, _PHOTO[lang]), 1
    if rng.random() < 0.25:
        text = f"{text}, {x}" if lang == 0 else f"{text},{x}"
    return Caption(_vary(rng, text), weights)
