"""From a traced step to CUDA: how it is cut into launches, the text of kernels, buffers, products and the device."""
