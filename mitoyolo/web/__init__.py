"""The browser workbench: pathologists annotate, the export goes into ``convert``."""
