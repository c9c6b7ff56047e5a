"""The records of `catalog`: torchvision, the P3D authors and those who ported them, MedicalNet."""

from typing import Any

from pseudo3d.recycle.published.record import Published, Record

_TORCH = "https://download.pytorch.org/models/"
_VISION = "torchvision 0.29, torchvision.models"
_VISION_LICENSE = (
    "code BSD-3-Clause; weights trained on data with terms of its own, which the publisher leaves "
    "to the user"
)
_IMAGENET: dict[str, Any] = {
    "resize": 256,
    "size": (224, 224),
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}
_KINETICS: dict[str, Any] = {
    "frames": 16,
    "sampling": "dense",
    "fps": 15.0,
    "resize": 128,
    "size": (112, 112),
    "mean": (0.43216, 0.394666, 0.37645),
    "std": (0.22803, 0.22145, 0.216989),
}
_CAFFE: dict[str, Any] = {
    "frames": 16,
    "sampling": "dense",
    "resize": 182,
    "size": (160, 160),
    "color": "bgr",
    "scale": 1.0,
    "mean": (104.0, 117.0, 123.0),
    "std": (1.0, 1.0, 1.0),
}
_CAFFE_FLOW = {**_CAFFE, "color": "flow", "mean": (128.0, 128.0), "std": (1.0, 1.0)}


def _resnet(
    layers: int, digest: str, top: tuple[float, float], recipe: str = "", resize: int = 256
) -> Record:
    """One of torchvision's ImageNet ResNets; `recipe` 2 is the longer training."""
    file = f"resnet{layers}-{digest[:8]}.pth"
    return Record(
        name=f"resnet{layers}.imagenet{recipe}",
        network=f"resnet{layers}",
        file=file,
        address=_TORCH + file,
        sha256=digest,
        license=_VISION_LICENSE,
        classes=1000,
        prepare={**_IMAGENET, "resize": resize},
        scores=(
            Published(
                metric="top1", value=top[0], protocol="ImageNet-1k validation, one center crop"
            ),
            Published(
                metric="top5", value=top[1], protocol="ImageNet-1k validation, one center crop"
            ),
        ),
        source=f"{_VISION}.ResNet{layers}_Weights.IMAGENET1K_V{recipe or 1}",
        notes="2-D: load() applies it to every frame; `p3d train --weights` starts a P3D from it",
    )


def _video(network: str, stem: str, digest: str, video: float) -> Record:
    file = f"{stem}-{digest[:8]}.pth"
    protocol = "Kinetics-400 validation, 5 clips of 16 frames a video at 15 Hz, 112 x 112"
    return Record(
        name=f"{network}.kinetics400",
        network=network,
        file=file,
        address=_TORCH + file,
        sha256=digest,
        license=_VISION_LICENSE,
        classes=400,
        label_set="kinetics400",
        prepare=_KINETICS,
        scores=(Published(metric="video_hit@1", value=video, protocol=protocol),),
        source=f"{_VISION}.video",
        notes="trained on frames resized to 128 x 171 whatever their shape; resize here keeps it",
    )


_QIU = "github.com/ZhaofanQiu/pseudo-3d-residual-networks"
_PORT = "github.com/qijiezhao/pseudo-3d-pytorch"
_ONE_DRIVE = "https://1drv.ms/f/"
_KINETICS_P3D = (
    Published(
        metric="video_hit@1", value=0.721, protocol="the author in issue 11: RGB, no protocol given"
    ),
    Published(
        metric="clip_hit@1", value=0.5947, protocol="a user in issue 27: 160 x 160 center crop"
    ),
    Published(
        metric="video_hit@1",
        value=0.6938,
        protocol="a user in issue 27: 25 clips, 182 x 242 resize, 160 x 160 center crop",
    ),
)
_FLOW_P3D = (
    Published(
        metric="video_hit@1",
        value=0.612,
        protocol="the author in issue 11: TV-L1 flow, no protocol given",
    ),
)
_SPORTS_P3D = (
    Published(
        metric="clip_hit@1", value=0.479, protocol="the paper, table 2: Sports-1M, own split"
    ),
    Published(
        metric="video_hit@1",
        value=0.664,
        protocol="the paper, table 2: Sports-1M, own split, 20 clips",
    ),
)


def _p3d(variant: str, **own: Any) -> Record:
    fixed = {
        "name": f"p3d152.{variant}",
        "network": "p3d152",
        "direct": False,
        "license": "MIT (the repository's; none stated for the weights)",
        "source": f"{_QIU}, README, issues 11 and 27",
        "prepare": _CAFFE,
        "classes": 400,
        "label_set": "kinetics400",
    }
    return Record(**{**fixed, **own})


def _gluon(network: str, layers: int, sha1: str, top1: float) -> Record:
    name = f"p3d_resnet{layers}_kinetics400-{sha1[:8]}"
    return Record(
        name=f"{network}.kinetics400_gluon",
        network=network,
        file=f"{name}.params",
        address=f"https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/models/{name}.zip",
        sha1=sha1,
        license="Apache-2.0 (the repository's; none stated for the weights)",
        classes=400,
        label_set="kinetics400",
        prepare={**_IMAGENET, "frames": 16, "sampling": "dense", "step": 2},
        scores=(
            Published(
                metric="video_hit@1",
                value=top1,
                protocol="Kinetics-400 validation as GluonCV's table has it: 16 of 32 frames",
            ),
        ),
        source="github.com/dmlc/gluon-cv, model_store.py and Kinetics400.csv",
        notes="the address is a .zip of the .params file, whose SHA-1 is the one given; load() "
        "reads either",
    )


def _medical(layers: int, base: str, more: bool) -> Record:
    file = f"resnet_{layers}{'_23dataset' if more else ''}.pth"
    return Record(
        name=f"medicalnet{layers}{'.23datasets' if more else ''}",
        network=base,
        file=file,
        address=f"https://huggingface.co/TencentMedicalNet/MedicalNet-Resnet{layers}/resolve/main/{file}",
        license="MIT",
        source="github.com/Tencent/MedicalNet, README; addresses as in MONAI's resnet.py",
        notes="one input channel (z-scored volumes), no classifier: load(path, num_classes=N) adds "
        "a fresh one; MONAI says that not every depth exists in both versions",
    )


RECORDS: tuple[Record, ...] = (
    _resnet(
        18, "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec", (0.69758, 0.89078)
    ),
    _resnet(
        34, "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f", (0.73314, 0.91420)
    ),
    _resnet(
        50, "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a", (0.76130, 0.92862)
    ),
    _resnet(50, "11ad3fa6", (0.80858, 0.95434), "2", 232),
    _resnet(101, "63fe2227", (0.77374, 0.93546)),
    _resnet(101, "cd907fc2", (0.81886, 0.95780), "2", 232),
    _resnet(152, "394f9c45", (0.78312, 0.94046)),
    _resnet(152, "f82ba261", (0.82284, 0.96002), "2", 232),
    _video(
        "r3d18",
        "r3d_18",
        "b3b3357ead25631ec9c57362ff2128a92d0427e01e2cd184951a44380c3f2e9d",
        0.632,
    ),
    _video(
        "mc3_18",
        "mc3_18",
        "a90a0ba35ca1242d15b77511ff28bfb29cc596988b5ea36081042f8e2f54212b",
        0.640,
    ),
    _video(
        "r2plus1d18",
        "r2plus1d_18",
        "91a641e6c2ab531d1aca5f4321b4d802ec5c3babc15df855cdb6e39c6a1107c8",
        0.675,
    ),
    _p3d(
        "sports1m",
        file="p3d_resnet_sports1m_iter_150000.caffemodel",
        address=f"{_ONE_DRIVE}s!ApyV7qxhN8CmuD1Psuxnuo_vn01V",
        classes=487,
        label_set="sports1m",
        scores=_SPORTS_P3D,
        source=f"{_QIU}, README; the paper",
        notes="the authors' Caffe file",
    ),
    _p3d(
        "kinetics400",
        file="",
        address=f"{_ONE_DRIVE}s!ApyV7qxhN8CmuEAUq95ZgyrjRvNU",
        scores=_KINETICS_P3D,
        notes="the authors' Caffe file",
    ),
    _p3d(
        "kinetics400_flow",
        file="",
        address=f"{_ONE_DRIVE}s!ApyV7qxhN8CmvWIeREkw7wdOkCkY",
        prepare=_CAFFE_FLOW,
        scores=_FLOW_P3D,
        notes="the authors' Caffe file; TV-L1 flow as two channels of bytes",
    ),
    _p3d(
        "kinetics400_port",
        file="p3d_rgb_199.checkpoint.pth.tar",
        address=f"https://{_PORT}",
        scores=_KINETICS_P3D,
        notes="the authors' RGB weights converted from Caffe; semantics 'release'. The port's "
        "author has withdrawn the addresses",
    ),
    _p3d(
        "kinetics400_flow_port",
        file="p3d_flow_199.checkpoint.pth.tar",
        address=f"https://{_PORT}",
        prepare=_CAFFE_FLOW,
        scores=_FLOW_P3D,
        notes="the authors' flow weights converted from Caffe; semantics 'release'. The port's "
        "author has withdrawn the addresses",
    ),
    _p3d(
        "kinetics600_port",
        file="",
        address=f"https://{_PORT}",
        classes=600,
        label_set="kinetics600",
        prepare={**_IMAGENET, "frames": 16, "sampling": "dense"},
        source=f"{_PORT}, README",
        notes="trained by the port's author, so semantics 'port'; the preprocessing is what that "
        "code advertises, no more is known",
    ),
    _gluon("p3d50", 50, "671ba81c2b287ce3b9aa2393e15ff1562b705c4d", 0.716),
    _gluon("p3d101", 101, "b30e3a6389c3a12867fe41bb3838f407d47aed2b", 0.726),
    *(
        _medical(layers, base, more)
        for more in (False, True)
        for layers, base in (
            (10, "r3d18"),
            (18, "r3d18"),
            (34, "r3d18"),
            (50, "r3d50"),
            (101, "r3d50"),
            (152, "r3d50"),
            (200, "r3d50"),
        )
        if not more or layers <= 50
    ),
)
