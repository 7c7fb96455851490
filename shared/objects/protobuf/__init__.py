"""Kubernetes' protobuf bodies: client-go's typed clients send nothing else.

A body is the magic `k8s\\0` and a runtime.Unknown message that names the kind and holds the object's own message.
"""

from shared.objects.protobuf.decoding import decode
from shared.objects.protobuf.encoding import encode, encode_watch_event
from shared.objects.protobuf.wire import MAGIC

__all__ = ["MAGIC", "decode", "encode", "encode_watch_event"]
