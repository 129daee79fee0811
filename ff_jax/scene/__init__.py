"""The scene: Gaussians of all nodes, sky, exposure and camera corrections as one pytree."""

from ff_jax.scene.scene import Scene, SceneParams, compose, init_scene, refined_camera, render_scene

__all__ = ["Scene", "SceneParams", "compose", "init_scene", "refined_camera", "render_scene"]
