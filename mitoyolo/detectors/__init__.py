"""The detectors, one file a family. Only this package imports torch or ultralytics, when used."""
