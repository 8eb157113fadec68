"""Front ends: one conversation, in a terminal or on a page in the browser."""

__all__ = ["cli", "gradio_app", "opening", "remote", "streamlit_app"]
