from kernels.fisher.xla import accumulate, eig_map
