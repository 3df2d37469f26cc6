"""Reads run directories; imports no torch model."""
