"""The model store: generations with their manifests, the files below them, signatures."""
