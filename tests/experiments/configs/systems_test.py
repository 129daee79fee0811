"""The systems of the paper's table differ in their parts, and in nothing that would make them unfair."""

import pytest

from experiments.cli.command_line import to_config
from experiments.configs import systems
from ff_jax.pipeline.config import to_dict

CONFIGS = {name: to_config(systems.get_config(name)) for name in systems.SYSTEMS}


def settings_of(name):
    def flat(tree, prefix=""):
        for key, value in tree.items():
            yield from flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]

    return dict(flat(to_dict(CONFIGS[name])))


@pytest.mark.parametrize("name", systems.SYSTEMS)
def test_all_systems_have_the_same_log_steps_gaussians_network_and_training(name):
    shared = ("data.", "steps", "recon.budget", "recon.density.", "init.points", "self_fit.steps", "self_fit.batch")
    shared += ("self_fit.crop", "self_fit.lr", "self_fit.network.widths", "self_fit.network.stem", "evaluate.shifts")
    own, others = settings_of(name), settings_of("faithfusion")
    assert {key: value for key, value in own.items() if key.startswith(shared)} == {
        key: value for key, value in others.items() if key.startswith(shared)
    }
    assert systems.SYSTEMS[name].__doc__


def test_the_controls_differ_from_faithfusion_in_the_signal():
    def differences(name):
        own, others = settings_of(name), settings_of("faithfusion")
        return {key: value for key, value in own.items() if value != others[key]}

    assert differences("opacity") == {"eig.signal": "opacity"} and differences("faithfusion_skill") == {
        "use_skill": True
    }
    assert differences("drivex")["eig.signal"] == "warp_ssim"
    assert set(differences("recondreamer_pp")) - set(differences("recondreamer")) == {
        *("init.ground", "recon.deform_novel")
    }


def test_what_generates_everywhere_does_not_blend_and_weights_all_pixels_alike():
    for name in ("freevs", "recondreamer", "recondreamer_pp", "difix3d_plus"):
        assert CONFIGS[name].eig.signals == ("none", "none", "none")
    assert CONFIGS["faithfusion"].eig.signals == ("exact", "exact", "exact")


def test_kept_views_fit_into_the_buffer():
    from ff_jax.pipeline.fuse import check_capacity

    for config in CONFIGS.values():
        check_capacity(config, config.data.frames)


def test_an_unknown_system_is_an_error():
    with pytest.raises(AttributeError, match="invalid system 'nerf': expected one of omnire, freevs"):
        systems.get_config("nerf")
