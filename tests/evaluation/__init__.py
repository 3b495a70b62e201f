"""Tests of the scorer; a package, so that file names may repeat in other rooms."""
