"""A text message as a WebSocket frame (RFC 6455 §5.2).

Frames of a server carry no mask, so the same bytes serve every connection: a message for a thousand subscribers is
framed once and written a thousand times, which the library's connection objects cannot do.
"""

from __future__ import annotations

_FIN_TEXT = 0x81


def frame_text(message: bytes) -> bytes:
    """The unmasked, final text frame that carries ``message``."""
    length = len(message)
    if length < 126:
        return b"%c%c%b" % (_FIN_TEXT, length, message)
    if length < 1 << 16:
        return b"%c\x7e%b%b" % (_FIN_TEXT, length.to_bytes(2, "big"), message)
    return b"%c\x7f%b%b" % (_FIN_TEXT, length.to_bytes(8, "big"), message)
