"""The network as in the paper; kernels/ computes its layers faster."""
