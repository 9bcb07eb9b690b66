"""Soft operators for JAX."""
