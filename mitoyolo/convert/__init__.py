"""``mitoyolo convert``: annotations and images to a dataset folder, all accounted for."""

from mitoyolo.convert.options import ConvertOptions
from mitoyolo.convert.run import convert

__all__ = ["ConvertOptions", "convert"]
