"""The torch modules: towers, temporal part, losses, and the forms in which they run."""
