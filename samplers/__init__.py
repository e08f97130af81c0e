"""Fast samplers of diffusion models behind one registry, on the noise convention x = x0 + σn."""
