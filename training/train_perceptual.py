"""The encoder of picture styles: a slim VGG, distilled.

    python -m training.train_perceptual --data DIR --hed HED --distilled FOLDER [--minutes 12]

DIR as training/pictures.py, HED and FOLDER as training/teachers.py describe. It begins with the
teacher's own channels, chosen and fitted in closed form (`begin`), and learns to give the
teacher's features through one 1x1 convolution a layer, which is thrown away afterwards. Ends with
the relative errors on pictures never trained on.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from style_a_video.pipelines.core.decoder import StyleDecoder
from style_a_video.pipelines.core.gram import gram
from style_a_video.pipelines.core.perceptual import LAYERS, PerceptualEncoder, reflected
from torch import Tensor, nn
from torch.nn import functional as F

from . import data, pictures, teachers
from .loop import Run

SIDE = 128  # px of a crop
DECODED = {2: 0.2, 3: 0.3, 4: 0.5}  # levels, and how often each is given back
TAUGHT = 3  # one step in so many looks at the teachers, whose forward pass takes most of the time
PIXEL_WEIGHT = 30.0
VGG16 = LAYERS[:4]
DISTILLED_RMS = 6.3  # of its relu5_1


class Teachers:
    """What the layers should be: VGG-16's relu1_1 to relu4_1, distilled VGG-19's relu5_1."""

    def __init__(self, hed: Path, distilled: Path) -> None:
        self.vgg16 = teachers.vgg16(hed)
        self.vgg19 = teachers.distilled_vgg19(distilled)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        images = images.contiguous(memory_format=torch.channels_last)
        features = {k: x.float() for k, x in self.vgg16(images, VGG16).items()}
        return features | {"relu5_1": self.vgg19(images).float() / DISTILLED_RMS}


def relative(found: Tensor, wanted: Tensor) -> Tensor:
    """Squared error over the squared size, a picture each, averaged."""
    error = (found - wanted).flatten(1).square().sum(1)
    return (error / wanted.flatten(1).square().sum(1)).mean()


# The start: the teacher's channels that explain most, fitted to what the slim network has


def chosen(features: Tensor, count: int) -> Tensor:
    """Indices of the channels (N,C) that leave least of all others unexplained, one by one."""
    left = features.T.double() @ features.double() / len(features)
    indices = []
    for _ in range(count):
        gain = left.square().sum(0) / left.diagonal().clamp(min=1e-9)
        gain[indices] = 0
        best = int(gain.argmax())
        indices.append(best)
        column = left[:, best].clone()
        left = left - torch.outer(column, column) / column[best].clamp(min=1e-9)
    return torch.tensor(indices)


def fitted(inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (O,I) and bias (O,) of the least squares from (N,I) to (N,O), a little damped."""
    x = F.pad(inputs, (0, 1), value=1.0).double()
    normal = x.T @ x
    normal.diagonal().add_(1e-4 * normal.diagonal().mean())
    solution = torch.linalg.solve(normal, x.T @ outputs.double()).float()
    return solution[:-1].T, solution[-1]


@torch.no_grad()
def begin(
    student: PerceptualEncoder, heads: nn.ModuleDict, teach: Teachers, images: Tensor
) -> None:
    """Convolution after convolution fitted to the chosen channels of the teacher's, and the heads.

    VGG-16 stands for relu5_1 too but in its head: what the distilled network is deeper by, is left
    to training.
    """
    wanted = teach(images)
    x, y = 2 * images - 1, (2 * images - 1).bfloat16()
    generator = torch.Generator().manual_seed(0)
    for level, name in enumerate(LAYERS):
        if level:
            x, y = F.max_pool2d(x, 2), F.max_pool2d(y, 2)
        ours, theirs = student.blocks[level], teach.vgg16.blocks[level]
        for i, convolution in enumerate(ours):
            y = theirs[i](reflected(y))
            positions = min(40_000, y.shape[0] * y.shape[2] * y.shape[3])
            patches = F.unfold(reflected(x), 3).transpose(1, 2).flatten(0, 1)
            some = torch.randperm(len(patches), generator=generator)[:positions]
            outputs = y.permute(0, 2, 3, 1).flatten(0, 2)[some].float()
            channels = chosen(outputs.relu(), convolution.out_channels)
            weight, bias = fitted(patches[some], outputs[:, channels])
            convolution.weight.copy_(weight.view_as(convolution.weight))
            convolution.bias.copy_(bias)
            x, y = F.relu(convolution(reflected(x))), F.relu(y)
            if i == 0:
                flat, goal = (z.permute(0, 2, 3, 1).flatten(0, 2)[some] for z in (x, wanted[name]))
                weight, bias = fitted(flat, goal)
                heads[name].weight.copy_(weight[..., None, None])
                heads[name].bias.copy_(bias)
                print(f"start {name}: {relative(heads[name](x), wanted[name]):.3f}", flush=True)


# Training


def train(run: Run, teach: Teachers, photos: pictures.Crops, styles: pictures.Crops) -> None:
    """Towards the teachers, and so that a decoder can give the picture back.

    What pictures need most to be given back (colours, fine lines) has little part in the squares
    of VGG's features: without the decoders the encoder leaves it out.
    """
    student, heads = run.modules["encoder"], run.modules["heads"]
    rng = np.random.default_rng(run.step)
    latest = {f"pixels_{level}": math.nan for level in DECODED}
    for _ in run.steps():
        images = torch.cat([photos.batch(2, SIDE), styles.batch(2, SIDE)])
        images = images.contiguous(memory_format=torch.channels_last)
        level = int(rng.choice(list(DECODED), p=list(DECODED.values())))
        taught = run.step % TAUGHT == 0
        found = student(images, LAYERS if taught else [f"relu{level}_1"])
        pixels = F.mse_loss(run.modules[f"decoder_{level}"](found[f"relu{level}_1"]), images)
        parts, loss = {f"pixels_{level}": pixels}, PIXEL_WEIGHT * pixels
        if taught:
            wanted = teach(images)
            for name in LAYERS:
                like = heads[name](found[name])
                parts[name] = relative(like, wanted[name])
                loss = loss + TAUGHT * parts[name]
                loss = loss + 0.3 * TAUGHT * relative(gram(like), gram(wanted[name]))
        run.descend(loss)
        latest |= {k: v.item() for k, v in parts.items()}
        run.log(**latest)


@torch.no_grad()
def errors(student: nn.Module, heads: nn.Module, teach: Teachers, files: list[Path]) -> dict:
    """Relative errors by layer, of features and of their Gram matrices, averaged over pictures."""
    rows = []
    for file in files:
        image = torch.from_numpy(pictures.read(file)).permute(2, 0, 1)[None] / 255
        wanted, found = teach(image), student(image, LAYERS)
        row = []
        for name in LAYERS:
            like = heads[name](found[name])
            row += [relative(like, wanted[name]), relative(gram(like), gram(wanted[name]))]
        rows.append(torch.stack(row))
    means = torch.stack(rows).mean(0).tolist()
    return dict(zip(LAYERS, zip(means[::2], means[1::2], strict=True), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--hed", type=Path, required=True)
    parser.add_argument("--distilled", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path(".cache/training"))
    parser.add_argument("--name", default="perceptual", help="of the run")
    parser.add_argument("--start", help="a run to go on from")
    parser.add_argument("--minutes", type=float, default=12)
    args = parser.parse_args()
    torch.manual_seed(0)
    teach = Teachers(args.hed, args.distilled)
    student = PerceptualEncoder()
    widths = dict(zip(LAYERS, (64, 128, 256, 512, 128), strict=True))
    heads = nn.ModuleDict({k: nn.Conv2d(student.widths[k], widths[k], 1) for k in LAYERS})
    student, heads = (m.to(memory_format=torch.channels_last) for m in (student, heads))
    modules = {"encoder": student, "heads": heads}
    modules |= {f"decoder_{k}": StyleDecoder(k) for k in DECODED}
    photos = pictures.Crops(data.photos(args.data, "train"), seed=0)
    styles = pictures.Crops(pictures.styles(args.data), seed=1)
    if args.start:
        for name, module in modules.items():
            module.load_state_dict(load_file(args.work / args.start / f"{name}.safetensors"))
    elif not (args.work / args.name / "checkpoint.pt").exists():
        begin(student, heads, teach, torch.cat([photos.batch(16, SIDE), styles.batch(16, SIDE)]))
    run = Run(args.name, args.work, args.minutes, 5e-4, modules)
    photos.rng, styles.rng = (np.random.default_rng([run.step, k]) for k in (0, 1))
    train(run, teach, photos, styles)
    for name in modules:
        state = run.averaged(name).state_dict()
        save_file({k: v.contiguous() for k, v in state.items()}, run.folder / f"{name}.safetensors")
    unseen = {
        "photos": data.photos(args.data, "val"),
        "pictures of styles": pictures.styles(args.data, held_out=True),
    }
    for kind, files in unseen.items():
        for name, (features, grams) in errors(student, heads, teach, files).items():
            print(f"{kind} {name}: features {features:.3f}, Gram {grams:.3f}", flush=True)


if __name__ == "__main__":
    main()
