"""The bundled model, step by step: `python -m emoclip.training.mini STEP --root FACES --out RUN`."""
