"""Front ends: the same model in a terminal now, in a browser later in the course."""

__all__ = ["terminal"]
