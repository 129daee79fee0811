"""EIGent: the video fixer. Its backbone has the layout of CogVideoX and loads its public weights.

config, network_config                settings of the fixer; sizes of transformer and autoencoder
transformer, transformer_layers, positional_encoding   the backbone, frozen
context_branch, eig_conditioning      the trainable context branch, and how EIG conditions it
vae, vae_layers, detail_decoder       the causal video autoencoder, and full-resolution inputs of its decoder
noise_schedule, sampler               noise levels, solver steps, the sampling loop
prompt_embedding                      the stored embedding of the prompt
model                                 all networks together
fixer                                 the networks as a `Fixer`
denoising_loss, losses, latent_cache, trainer   training of a small model from scratch
"""
