"""Serving of a bundle: each request gets the best tier that meets its deadline. Never imports torch or onnx."""
