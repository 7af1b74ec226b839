"""The network as the paper has it; kernels/ computes its layers faster."""
