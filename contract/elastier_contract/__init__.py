"""The hand-over between training and serving: what a bundle is, and how it is read and written.

Needs pydantic and numpy only, so that either side can import it without the other's libraries.
"""
