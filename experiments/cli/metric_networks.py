"""Flags for the networks that metrics need: a path, a URL with its SHA-256, or nothing.

--lpips=/path/to/lpips_alexnet.npz
--lpips=https://example.org/lpips_alexnet.npz#sha256=<64 hexadecimal digits>
--lpips=none                                      leaves the metric out
"""

import logging
from pathlib import Path

from absl import flags

from experiments.cli import command_line
from ff_jax.evaluation.benchmark import Networks
from ff_jax.metrics import detectors, inception, lpips, ntl_iou
from ff_jax.runtime.weight_files import Weights, locate

# What is taken from the assets folder if a flag is not given; YOLOX and TwinLiteNet have permissive licences.
USUAL = {
    "lpips": "assets:weights/lpips/lpips_alexnet.npz",
    "inception": "assets:weights/fid_inception_v3/fid_inception_v3_nofc.npz",
    "detector": "assets:weights/yolox_nano_coco/yolox_nano_416.onnx",
    "lanes": "assets:weights/twinlitenet/twinlitenet_360x640.onnx",
}
_WHAT = {
    "lpips": "LPIPS (npz or safetensors)",
    "inception": "FID and KID (Inception-v3, npz or safetensors)",
    "detector": "NTA-IoU (a YOLO network, ONNX)",
    "lanes": "NTL-IoU (TwinLiteNet, ONNX)",
}
_FLAGS = {
    name: flags.DEFINE_string(name, None, f"Network for {what}: a path, URL#sha256=DIGEST, or none.")
    for name, what in _WHAT.items()
}
_LPIPS_NET = flags.DEFINE_enum("lpips_net", "alex", ["alex", "vgg"], "Trunk that --lpips holds.")
_RESIZE = flags.DEFINE_enum("resize", "torch_fidelity", inception.RESIZES, "How images become 299 pixels for FID.")
_LAYOUT = flags.DEFINE_enum("detector_layout", "yolox", sorted(detectors.LAYOUTS), "Family of --detector.")
_CACHE = flags.DEFINE_string("cache", "~/.cache/ff_jax", "Folder of downloaded networks.")


def weights_of(text: str) -> Weights:
    """Return where a network is, from the text of its flag.

    Raises:
        ValueError: a URL without its digest.
    """
    if "://" not in text:
        return Weights(path=command_line.log_path(text))
    url, _, digest = text.partition("#sha256=")
    return Weights(url=url, sha256=digest)


def load() -> tuple[Networks, dict[str, str]]:
    """Return the networks that the flags name, and for every one which file it is or why it is left out.

    Raises:
        ValueError: a network that was asked for is not there, or is another one.
    """
    found, said = {}, {}
    for name, flag in _FLAGS.items():
        if flag.value == "none":
            said[name] = "left out"
            continue
        try:
            path = locate(weights_of(flag.value or USUAL[name]), _WHAT[name], Path(_CACHE.value).expanduser())
            found[name], said[name] = _open(name, path), path.name
        except (ValueError, ImportError) as error:
            if flag.value is not None:
                raise ValueError(f"--{name}={flag.value}: {error}") from error
            said[name] = f"left out: {error}"
            logging.getLogger(__name__).warning("%s is left out; give --%s. (%s)", _WHAT[name], name, error)
    return Networks(**found), said | {"lpips_net": _LPIPS_NET.value, "resize": _RESIZE.value}


def _open(name: str, path: Path) -> object:
    if name == "lpips":
        return lpips.load(path, _LPIPS_NET.value)
    if name == "inception":
        return inception.load(path, _RESIZE.value)
    return detectors.load_detector(path, _LAYOUT.value) if name == "detector" else ntl_iou.load_twinlitenet(path)
