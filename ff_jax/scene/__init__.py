"""The scene: Gaussians of all nodes, sky, exposure and camera corrections as one pytree."""

from ff_jax.scene.scene import (
    PointCloud,
    RenderedScene,
    Scene,
    SceneModel,
    SceneParams,
    SceneSizes,
    View,
    compose,
    freeze_ground,
    init_scene,
    refined_camera,
    render_scene,
)

__all__ = [
    "PointCloud",
    "RenderedScene",
    "Scene",
    "SceneModel",
    "SceneParams",
    "SceneSizes",
    "View",
    "compose",
    "freeze_ground",
    "init_scene",
    "refined_camera",
    "render_scene",
]
