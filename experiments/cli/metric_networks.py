"""Flags for the networks that metrics need: a path, a URL with its SHA-256, or nothing.

--lpips=/path/to/lpips_alexnet.npz
--lpips=https://example.org/lpips_alexnet.npz#sha256=<64 hexadecimal digits>
--lpips=none                                      (the metric is left out)
"""

import logging
from pathlib import Path

from absl import flags

from experiments.cli import command_line
from ff_jax.evaluation.benchmark import Networks
from ff_jax.metrics import detectors, inception, lpips, ntl_iou
from ff_jax.runtime.weight_files import WeightsSource, locate_weights

# Defaults of the flags, in the assets folder; YOLOX and TwinLiteNet have permissive licenses.
DEFAULTS = {
    "lpips": "assets:weights/lpips/lpips_alexnet.npz",
    "inception": "assets:weights/fid_inception_v3/fid_inception_v3_nofc.npz",
    "detector": "assets:weights/yolox_nano_coco/yolox_nano_416.onnx",
    "lanes": "assets:weights/twinlitenet/twinlitenet_360x640.onnx",
}
_DESCRIPTIONS = {
    "lpips": "LPIPS (npz or safetensors)",
    "inception": "FID and KID (Inception-v3, npz or safetensors)",
    "detector": "NTA-IoU (a YOLO network, ONNX)",
    "lanes": "NTL-IoU (TwinLiteNet, ONNX)",
}
_FLAGS = {
    name: flags.DEFINE_string(name, None, f"Network for {description}: a path, URL#sha256=DIGEST, or none.")
    for name, description in _DESCRIPTIONS.items()
}
_LPIPS_NET = flags.DEFINE_enum("lpips_net", "alex", ["alex", "vgg"], "Backbone of the network in --lpips.")
_RESIZE = flags.DEFINE_enum(
    "resize", "torch_fidelity", inception.RESIZES, "Method to resize images to 299 pixels for FID."
)
_LAYOUT = flags.DEFINE_enum("detector_layout", "yolox", sorted(detectors.LAYOUTS), "Family of --detector.")
_CACHE = flags.DEFINE_string("cache", "~/.cache/ff_jax", "Folder of downloaded networks.")


def parse_source(text: str) -> WeightsSource:
    """Parse the path or the URL of a network.

    Raises:
        ValueError: a URL without its digest.
    """
    if "://" not in text:
        return WeightsSource(path=command_line.log_path(text))
    url, _, digest = text.partition("#sha256=")
    return WeightsSource(url=url, sha256=digest)


def load() -> tuple[Networks, dict[str, str]]:
    """Load the networks of the flags; also report for each one its file, or why it is left out.

    Raises:
        ValueError: the network of a flag does not exist, or is another kind of network.
    """
    networks, sources = {}, {}
    for name, flag in _FLAGS.items():
        if flag.value == "none":
            sources[name] = "left out"
            continue
        try:
            path = locate_weights(
                parse_source(flag.value or DEFAULTS[name]), _DESCRIPTIONS[name], Path(_CACHE.value).expanduser()
            )
            networks[name], sources[name] = _open(name, path), path.name
        except (ValueError, ImportError) as error:
            if flag.value is not None:
                raise ValueError(f"--{name}={flag.value}: {error}") from error
            sources[name] = f"left out: {error}"
            logging.getLogger(__name__).warning("%s is left out; set --%s. (%s)", _DESCRIPTIONS[name], name, error)
    return Networks(**networks), sources | {"lpips_net": _LPIPS_NET.value, "resize": _RESIZE.value}


def _open(name: str, path: Path) -> object:
    if name == "lpips":
        return lpips.load(path, _LPIPS_NET.value)
    if name == "inception":
        return inception.load(path, _RESIZE.value)
    return detectors.load_detector(path, _LAYOUT.value) if name == "detector" else ntl_iou.load_twinlitenet(path)
