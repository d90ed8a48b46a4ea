"""Code generated from ``proto/kvnode/v1`` by ``proto/generate.py``; do not edit."""
