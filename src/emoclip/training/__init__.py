"""Training, import of checkpoints and export to packages: the only part of emoclip that needs torch (extra ``train``)."""
