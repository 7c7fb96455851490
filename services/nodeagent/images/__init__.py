"""The node's images: pulled once, unpacked once, shared by every container, collected when nobody needs them.

Why unpacked layers and nothing else: overlayfs mounts the directories as they are, so a compressed copy beside them
would only double the disk that an image takes.
"""
