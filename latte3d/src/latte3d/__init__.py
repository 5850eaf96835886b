"""LATTE3D: from a prompt to a textured mesh in one forward pass."""
