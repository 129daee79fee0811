"""EIGent: the video generator. Its backbone has the layout of CogVideoX, whose public weights it loads.

config                       sizes of the transformer and of the autoencoder
dit, layers, rope            the transformer, frozen
branch, guidance             the trainable context branch, and how EIG steers it
vae, vae_blocks, vae_tiles   the causal video autoencoder
schedule, sampler            noise levels, steps from one to the next, and the loop over them
text, t5                     embeddings of the prompt
objective                    what backbone and branch are trained on (the loop is ff_jax/fixers/training)
use                          sizes, EIG and sampling in one configuration
model, detail                all networks together: rendered clips to repaired ones
fixer, pretrained            the `Fixer`, and its weights in a file
store, fitting, trainer      the training of a small model from scratch
"""
