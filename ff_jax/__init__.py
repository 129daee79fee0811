"""FaithFusion in JAX: pure functions and pytrees; no flags, no globals."""
