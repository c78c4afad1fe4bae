"""A name for an object's file, made of what a peer calls it.

Knows: which names are safe on any system, extensions of common media types.
Does not know: files, what else is in the folder (whoever asks puts something unique in front).
Invariant: one path component of [A-Za-z0-9._-], 1 to MOST_BYTES bytes, which begins with a letter, a digit or "_",
does not end with a dot, and is no device of Windows.

The system's table of media types is not asked: the same body is to get the same name everywhere.
"""

from __future__ import annotations

import re
from typing import Final

MOST_BYTES: Final = 100
"""Leaves room for what is put in front, and for the end of a decoded body's name, within the 255 of a file system."""

_MOST_EXTENSION: Final = 10  # the dot and nine more
_UNNAMED: Final = "unnamed"
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_EXTENSION: Final = re.compile(r"\.[0-9]*[A-Za-z][A-Za-z0-9]*\Z")
"""A version's digits, as in "v1.2", are none."""
_DEVICES: Final = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(10))]
)

_EXTENSIONS: Final = {
    "application/atom+xml": "atom",
    "application/epub+zip": "epub",
    "application/gzip": "gz",
    "application/java-archive": "jar",
    "application/javascript": "js",
    "application/json": "json",
    "application/manifest+json": "webmanifest",
    "application/msword": "doc",
    "application/octet-stream": "bin",
    "application/ogg": "ogx",
    "application/pdf": "pdf",
    "application/postscript": "ps",
    "application/rss+xml": "rss",
    "application/rtf": "rtf",
    "application/vnd.android.package-archive": "apk",
    "application/vnd.apple.mpegurl": "m3u8",
    "application/vnd.ms-cab-compressed": "cab",
    "application/vnd.ms-excel": "xls",
    "application/vnd.ms-fontobject": "eot",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/wasm": "wasm",
    "application/x-7z-compressed": "7z",
    "application/x-bzip2": "bz2",
    "application/x-executable": "elf",
    "application/x-gzip": "gz",
    "application/x-javascript": "js",
    "application/x-msdownload": "exe",
    "application/x-rar-compressed": "rar",
    "application/x-shockwave-flash": "swf",
    "application/x-tar": "tar",
    "application/x-www-form-urlencoded": "txt",
    "application/x-xz": "xz",
    "application/xhtml+xml": "xhtml",
    "application/xml": "xml",
    "application/zip": "zip",
    "application/zstd": "zst",
    "audio/aac": "aac",
    "audio/flac": "flac",
    "audio/midi": "mid",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
    "audio/ogg": "oga",
    "audio/wav": "wav",
    "audio/webm": "weba",
    "audio/x-wav": "wav",
    "font/otf": "otf",
    "font/ttf": "ttf",
    "font/woff": "woff",
    "font/woff2": "woff2",
    "image/avif": "avif",
    "image/bmp": "bmp",
    "image/gif": "gif",
    "image/heic": "heic",
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/svg+xml": "svg",
    "image/tiff": "tif",
    "image/vnd.microsoft.icon": "ico",
    "image/webp": "webp",
    "image/x-icon": "ico",
    "message/rfc822": "eml",
    "multipart/form-data": "form",
    "text/calendar": "ics",
    "text/css": "css",
    "text/csv": "csv",
    "text/html": "html",
    "text/javascript": "js",
    "text/plain": "txt",
    "text/vcard": "vcf",
    "text/xml": "xml",
    "video/mp2t": "ts",
    "video/mp4": "mp4",
    "video/mpeg": "mpg",
    "video/ogg": "ogv",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-flv": "flv",
    "video/x-matroska": "mkv",
    "video/x-msvideo": "avi",
}


def safe_name(wanted: str, media_type: str = "") -> str:
    """A file's name. ``wanted``: a URL, its path, or a file's name as a peer gives it, however unsafe; the last
    component counts, without a query. ``media_type``: gives the extension where the name has none."""
    last = [part for part in re.split(r"[/\\]", _path(wanted)) if part.strip(".")][-1:]
    name = _UNSAFE.sub("_", last[0] if last else "").lstrip(".-").rstrip(".")
    found = _EXTENSION.search(name, 1)
    if found is not None and len(found[0]) <= _MOST_EXTENSION:
        stem, extension = name[: found.start()], found[0]
    else:
        stem, extension = name, extension_of(media_type)
    stem = stem[: MOST_BYTES - len(extension) - 1].rstrip(".") or _UNNAMED
    device, dot, rest = stem.partition(".")
    if device.lower() in _DEVICES:
        stem = f"{device}_{dot}{rest}"
    return stem + extension


def extension_of(media_type: str) -> str:
    """With its dot; "" for a type that is not known. Parameters are left aside."""
    kind = media_type.partition(";")[0].strip().lower()
    extension = _EXTENSIONS.get(kind)
    if extension is None:
        extension = next((name for end, name in (("+json", "json"), ("+xml", "xml")) if kind.endswith(end)), "")
    return f".{extension}" if extension else ""


def _path(wanted: str) -> str:
    """Without scheme and host, query and fragment."""
    path = wanted.partition("?")[0]
    _, scheme, rest = path.partition("://")
    return rest.partition("/")[2] if scheme else path
