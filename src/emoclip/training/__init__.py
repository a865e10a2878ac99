"""Training, import of checkpoints, export to packages: all of emoclip that needs torch (extra `train`)."""
