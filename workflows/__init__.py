"""The bundled workflow files: data only."""
