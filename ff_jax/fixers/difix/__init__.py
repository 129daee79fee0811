"""Difix with EIG: a one-step diffusion network that repairs a frame with the help of a reference.

config                       settings: `tiny` and `published`
model                        the network: vae -> unet (eig_conditioning) -> one_step_diffusion -> vae
reference_stem               references that are re-projected into the frame
diffusers_flax               the network classes of diffusers
lora                         low-rank updates
losses, objectives, trainer  training
fixer                        the network as a fixer
"""
