"""Views to vectors: image encoders and heads."""
